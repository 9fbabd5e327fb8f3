"""One source through all stages: parse, anatomy, plan, rewrite. Nothing is written here."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from porter.anatomy import Anatomy, read_anatomy
from porter.config import ConfigDefaults, read_defaults
from porter.conversions import converted_parameters
from porter.diagnostics import Diagnostic, Refused
from porter.explain import explain, reason_of
from porter.nearest import nearest
from porter.parse import Parsed, dotted, methods, parse
from porter.plan import Plan
from porter.ported import Ported, SiteReport
from porter.relative import check_importable
from porter.rewrite import rewrite
from porter.rule import LoadedRule, load_rules
from porter.search import Search
from porter.shipped import shipped
from porter.source import Source
from porter.split_points import find_split_points


@dataclass(frozen=True)
class Inspection:
    """What porter sees in a source: its anatomy and the plan, nothing rewritten."""

    source: Source
    plan: Plan
    sites: tuple[SiteReport, ...]


def convert(
    source: Source,
    *,
    name: str,
    keep: tuple[str, ...] = (),
    without: tuple[str, ...] = (),
    strict: bool = False,
    rules_directory: Path | None = None,
) -> Ported | Refused:
    """Port one source.

    keep:    sites left as the source has them: `Class.method`, `Class` or a function; recorded.
    without: rules not used.
    strict:  refuse when any site is left that no rule takes.
    """
    loaded = _load(source, rules_directory)
    if isinstance(loaded, Refused):
        return loaded
    parsed, anatomy, defaults, rules = loaded
    fault = check_importable(source) or _unknown(keep, without, anatomy, rules)
    if fault is not None:
        return fault
    wanted = tuple(rule for rule in rules if rule.name not in without)
    plan = Search(parsed, anatomy, defaults, keep, _converted(source)).plan(wanted)
    if isinstance(plan, Refused):
        return plan
    fault = _nothing_to_port(plan)
    if fault is not None:
        return fault
    sites = _site_reports(plan)
    left = {site.name for site in sites if site.status in ("left", "partly")}
    if strict and left:
        return Refused(tuple(explain(plan, site) for site in plan.anatomy.sites if site.name in left))
    package = source.module.rpartition(".")[0] if source.module else None
    rewritten = rewrite(plan, package)
    used = {application.rule.name: application.rule.sha256 for application in plan.applications}
    return Ported(
        source=source,
        name=name,
        causal_class=anatomy.causal,
        code=rewritten.code,
        changes=rewritten.changes,
        sites=sites,
        rules=tuple(sorted(used.items())),
        split_points=find_split_points(parsed, anatomy, defaults, source.path.stem),
        options={"keep": list(keep), "without": list(without), "strict": strict},
    )


def inspect(source: Source, *, rules_directory: Path | None = None) -> Inspection | Refused:
    """Anatomy and plan of a source."""
    loaded = _load(source, rules_directory)
    if isinstance(loaded, Refused):
        return loaded
    parsed, anatomy, defaults, rules = loaded
    plan = Search(parsed, anatomy, defaults, converted=_converted(source)).plan(rules)
    return plan if isinstance(plan, Refused) else Inspection(source, plan, _site_reports(plan))


def _load(
    source: Source, rules_directory: Path | None
) -> tuple[Parsed, Anatomy, ConfigDefaults, tuple[LoadedRule, ...]] | Refused:
    parsed = parse(source.text, source.display, source.path)
    if isinstance(parsed, Refused):
        return parsed
    anatomy = read_anatomy(parsed)
    if isinstance(anatomy, Refused):
        return anatomy
    rules = load_rules(rules_directory or shipped("rules"))
    if isinstance(rules, Refused):
        return rules
    return parsed, anatomy, _defaults(source, parsed, anatomy.causal), rules


def _converted(source: Source) -> frozenset[str]:
    return converted_parameters(source.path, source.package)


def _defaults(source: Source, parsed: Parsed, causal: str) -> ConfigDefaults:
    """Defaults of the configuration class that the causal class is built from."""
    if source.configuration is None:
        return read_defaults(None, None)
    configuration = parse(source.configuration.text, source.configuration.name)
    init = methods(parsed.classes[causal]).get("__init__")
    named = [dotted(arg.annotation) for arg in (init.args.args if init else ()) if arg.annotation is not None]
    named += [
        dotted(item.annotation if isinstance(item, ast.AnnAssign) else item.value)
        for node in parsed.classes.values()
        for item in node.body
        if (isinstance(item, ast.AnnAssign) and getattr(item.target, "id", "") == "config")
        or (isinstance(item, ast.Assign) and getattr(item.targets[0], "id", "") == "config_class")
    ]
    return read_defaults(configuration if isinstance(configuration, Parsed) else None, next(filter(None, named), None))


def _site_reports(plan: Plan) -> tuple[SiteReport, ...]:
    reports = []
    status: str
    reason: str | None
    for site in plan.anatomy.sites:
        rules = plan.rules_at(site.name)
        if site.kind == "rotary" and not rules:
            continue  # cos and sin are computed once a step: a rule may trim them, none has to
        kept = bool({site.name, site.owner or site.name} & set(plan.kept))
        if kept:
            status, reason = "kept", "kept on purpose"
        elif rules and not plan.missing_at(site):
            status, reason = "ported", None
        else:
            status, reason = "partly" if rules else "left", reason_of(plan, site)
        reports.append(SiteReport(site.name, site.kind, site.function.lineno, status, rules, reason))
    return tuple(reports)


def _nothing_to_port(plan: Plan) -> Refused | None:
    """P103, P104: no rule takes any site, or the port would have no base class to load weights with."""
    if not plan.applications:
        first = plan.anatomy.sites[0] if plan.anatomy.sites else None
        if first is None:
            place = plan.parsed.span(plan.parsed.classes[plan.anatomy.causal])
            message = f"`{plan.anatomy.causal}` has no layers in this file"
            return Refused((Diagnostic("P103", message, place, help="port the model it wraps"),))
        closest = explain(plan, first)
        return Refused((replace(closest, code="P103", message=f"no rule takes any site of `{plan.anatomy.causal}`"),))
    if not plan.anatomy.pretrained():
        place = plan.parsed.span(plan.parsed.classes[plan.anatomy.causal])
        message = "the file has no class of its own derived from PreTrainedModel"
        help_text = "a port loads weights through that class: port the file that defines it"
        return Refused((Diagnostic("P104", message, place, help=help_text),))
    return None


def _unknown(
    keep: Iterable[str], without: Iterable[str], anatomy: Anatomy, rules: tuple[LoadedRule, ...]
) -> Refused | None:
    """P041, P042: a site or rule that is not there is an error, never a flag without effect."""
    sites = [name for site in anatomy.sites for name in (site.name, site.owner or site.name)]
    for name in keep:
        if name not in sites:
            return _no_such("P041", f"no site `{name}` to keep", name, sites)
    names = [rule.name for rule in rules]
    for name in without:
        if name not in names:
            return _no_such("P042", f"no rule `{name}` to leave out", name, names)
    return None


def _no_such(code: str, message: str, name: str, known: list[str]) -> Refused:
    close = nearest(name, known)
    listed = " or ".join(f"`{item}`" for item in close)
    return Refused((Diagnostic(code, message, help=f"did you mean {listed}?" if close else "see `porter inspect`"),))

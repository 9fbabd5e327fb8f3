"""One source through all stages: parse, anatomy, match, plan, rewrite. Nothing is written here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from porter.anatomy import (
    Anatomy,
    ConfigDefaults,
    configuration_class,
    converted_parameters,
    find_split_points,
    read_anatomy,
    read_defaults,
)
from porter.diagnostics import Diagnostic, Refused, nearest
from porter.match import Subject, search
from porter.plan import Plan, SiteReport, explain, make_plan, report_sites
from porter.rewrite import Ported, rewrite
from porter.rulebook import LoadedRule, load_rules
from porter.shipped import shipped
from porter.source import Source
from porter.source.depth import room_to_recurse
from porter.tree import Tree, parse, printed_as_read
from porter.tree.collector import paused_collector
from porter.tree.relative import lost_imports, lost_imports_of

Rules = tuple[LoadedRule, ...]


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
    rules: Rules | None = None,
) -> Ported | Refused:
    """Port one source.

    keep:    sites left as the source has them: `Class.method`, `Class` or a function; recorded.
    without: rules not used.
    strict:  refuse when any site is left that no rule takes.
    rules:   loaded before, for many files; else those of `rules_directory`, else those that come with porter.
    """
    with room_to_recurse(), paused_collector():
        read = _read(source, rules if rules is not None else load_rules(rules_directory or shipped("rules")))
        if isinstance(read, Refused):
            return read
        fault = _check_importable(source, read.tree) or _unknown(keep, without, read.anatomy, read.rules)
        if fault is not None:
            return fault
        plan = _plan(source, read, keep, without)
        if isinstance(plan, Refused):
            return plan
        sites = report_sites(plan)
        fault = _nothing_to_port(plan) or (_left(plan, sites) if strict else None)
        if fault is not None:
            return fault
        rewritten = rewrite(plan)
        used = {application.rule.name: application.rule.sha256 for application in plan.applications}
        return Ported(
            source=source,
            name=name,
            causal_class=read.anatomy.causal,
            code=rewritten.code,
            exports=rewritten.exports,
            changes=rewritten.changes,
            sites=sites,
            rules=tuple(sorted(used.items())),
            split_points=find_split_points(read.tree, read.anatomy, read.defaults, source.path.stem),
            options={"keep": list(keep), "without": list(without), "strict": strict},
        )


def inspect(source: Source, *, rules_directory: Path | None = None, rules: Rules | None = None) -> Inspection | Refused:
    """Anatomy and plan of a source."""
    with room_to_recurse(), paused_collector():
        read = _read(source, rules if rules is not None else load_rules(rules_directory or shipped("rules")))
        plan = read if isinstance(read, Refused) else _plan(source, read)
        return plan if isinstance(plan, Refused) else Inspection(source, plan, report_sites(plan))


@dataclass(frozen=True)
class _Read:
    """What is known of a source before the rules are tried."""

    tree: Tree
    anatomy: Anatomy
    defaults: ConfigDefaults
    rules: Rules


def _read(source: Source, rules: Rules | Refused) -> _Read | Refused:
    package = source.module.rpartition(".")[0] if source.module else None
    tree = parse(source.text, source.display, source.path, package)
    if isinstance(tree, Refused):
        return tree
    fault = printed_as_read(tree)
    if fault is not None:
        return fault
    anatomy = read_anatomy(tree)
    if isinstance(anatomy, Refused):
        return anatomy
    if isinstance(rules, Refused):
        return rules
    return _Read(tree, anatomy, _defaults(source, tree, anatomy.causal), rules)


def _plan(source: Source, read: _Read, keep: tuple[str, ...] = (), without: tuple[str, ...] = ()) -> Plan | Refused:
    converted = converted_parameters(source.path, source.package)
    rules = tuple(rule for rule in read.rules if rule.name not in without)
    findings = search(rules, Subject(read.tree, read.anatomy, read.defaults, keep, converted))
    return make_plan(findings, read.tree, read.anatomy, rules, keep)


def _defaults(source: Source, tree: Tree, causal: str) -> ConfigDefaults:
    """Defaults of the configuration class that the causal class is built from."""
    if source.configuration is None:
        return read_defaults(None, None)
    configuration = parse(source.configuration.text, source.configuration.name)
    known = None if isinstance(configuration, Refused) else configuration
    return read_defaults(known, configuration_class(tree, causal))


def _check_importable(source: Source, tree: Tree) -> Refused | None:
    """P004 for a file name that no import can say, P009 for relative imports of what is not beside the file."""
    if source.module is not None:
        return None
    if not source.path.stem.isidentifier():
        message = f"`{source.display}` cannot be imported: `{source.path.stem}` is no module name"
        return Refused((Diagnostic("P004", message, help="rename the file"),))
    there = {source.path.stem, *(sibling.path.stem for sibling in source.siblings)}
    lost = [lost_imports_of(tree, there)]
    lost += [lost_imports(sibling.text, str(sibling.path), there) for sibling in source.siblings]
    found = tuple(diagnostic for diagnostic in lost if diagnostic is not None)
    return Refused(found) if found else None


def _left(plan: Plan, sites: Iterable[SiteReport]) -> Refused | None:
    """P102 for every site that no rule takes whole."""
    left = {site.name for site in sites if site.status in ("left", "partly")}
    return Refused(tuple(explain(plan, site) for site in plan.anatomy.sites if site.name in left)) if left else None


def _nothing_to_port(plan: Plan) -> Refused | None:
    """P103, P104: no rule takes any site, or the port would have no base class to load weights with."""
    if not plan.applications:
        first = plan.anatomy.sites[0] if plan.anatomy.sites else None
        if first is None:
            place = plan.tree.span(plan.tree.classes[plan.anatomy.causal])
            message = f"`{plan.anatomy.causal}` has no layers in this file"
            return Refused((Diagnostic("P103", message, place, help="port the model it wraps"),))
        closest = explain(plan, first)
        return Refused((replace(closest, code="P103", message=f"no rule takes any site of `{plan.anatomy.causal}`"),))
    if not plan.anatomy.pretrained():
        place = plan.tree.span(plan.tree.classes[plan.anatomy.causal])
        message = "the file has no class of its own derived from PreTrainedModel"
        help_text = "a port loads weights through that class: port the file that defines it"
        return Refused((Diagnostic("P104", message, place, help=help_text),))
    return None


def _unknown(keep: Iterable[str], without: Iterable[str], anatomy: Anatomy, rules: Rules) -> Refused | None:
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

"""One source through all stages: parse, anatomy, match, plan, rewrite. Nothing is written here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from porter.anatomy import (
    Anatomy,
    ConfigDefaults,
    converted_parameters,
    defaults_of,
    find_split_points,
    read_anatomy,
)
from porter.diagnostics import Diagnostic, Refused
from porter.emit.render import clash, clash_of_ops
from porter.match import Subject, search
from porter.plan import Plan, SiteReport, is_settled, make_plan, report_sites
from porter.plan.refusals import nothing_to_port, rules_unproved, sites_left, unknown_names
from porter.rewrite import Ported, rewrite
from porter.rulebook import LoadedRule, load_rules
from porter.shipped import shipped
from porter.source import Source
from porter.source.depth import room_to_recurse
from porter.source.python import check_compiles
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
    unproved: bool = False,
    trust_remote_code: bool = False,
) -> Ported | Refused:
    """Port one source.

    keep:    sites left as the source has them: `Class.method`, `Class` or a function; recorded.
    without: rules not used.
    strict:  refuse when any site is left that no rule takes.
    rules:   loaded before, for many files; else those of `rules_directory`, else those that come with porter.
    unproved: let rules port that did not come with porter and lack a proof, or a kernel for an op; recorded.
    trust_remote_code: recorded: the port of code out of a folder may be run. Nothing of it is run here.
    """
    with room_to_recurse(), paused_collector():
        read = _read(source, rules if rules is not None else load_rules(rules_directory or shipped("rules")))
        if isinstance(read, Refused):
            return read
        fault = _check_importable(source, read.tree) or clash(source, name)
        fault = fault or unknown_names(keep, without, read.anatomy, read.rules)
        if fault is not None:
            return fault
        plan = _plan(source, read, keep, without)
        if isinstance(plan, Refused):
            return plan
        sites = report_sites(plan)
        fault = nothing_to_port(plan) or (sites_left(plan, sites) if strict else None)
        used = {application.rule.name: application.rule for application in plan.applications}
        fault = fault or (None if unproved else rules_unproved(used.values())) or clash_of_ops(source, used.values())
        if fault is not None:
            return fault
        rewritten = rewrite(plan, source)
        consent = {"trust_remote_code": True} if trust_remote_code and not source.installed else {}
        return Ported(
            source=source,
            name=name,
            causal_class=read.anatomy.causal,
            code=rewritten.code,
            exports=rewritten.exports,
            changes=rewritten.changes,
            sites=sites,
            rules=tuple(sorted((rule.name, rule.sha256) for rule in used.values())),
            split_points=find_split_points(
                read.tree, read.anatomy, read.defaults, source.path.stem, frozenset(owner for owner, *_ in plan.splits)
            ),
            options={"keep": list(keep), "without": list(without), "strict": strict, **consent, **_own(read.rules)}
            | ({"unproved": True} if unproved and any(rule.lacks for rule in used.values()) else {}),
            own=tuple(sorted((rule for rule in used.values() if rule.folder), key=lambda rule: rule.name)),
        )


def _own(rules: Rules) -> dict[str, list[str]]:
    """The folders of the user's own that rules are from, by their full paths, as an option that is recorded."""
    folders = {str(rule.folder.path.resolve()) for rule in rules if rule.folder and not rule.folder.package}
    return {"rules": sorted(folders)} if folders else {}


def inspect(
    source: Source, *, rules_directory: Path | None = None, rules: Rules | None = None, every: bool = False
) -> Inspection | Refused:
    """Anatomy and plan of a source; with `every` rule tried, where no site is left too."""
    with room_to_recurse(), paused_collector():
        read = _read(source, rules if rules is not None else load_rules(rules_directory or shipped("rules")))
        plan = read if isinstance(read, Refused) else _plan(source, read, every=every)
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
    fault = check_compiles(tree.text, str(source.path)) or printed_as_read(tree)
    if fault is not None:
        return fault
    anatomy = read_anatomy(tree, source.entry)
    if isinstance(anatomy, Refused):
        return anatomy
    if isinstance(rules, Refused):
        return rules
    defaults = defaults_of(source.configuration, tree, anatomy.causal, source.path)
    return defaults if isinstance(defaults, Refused) else _Read(tree, anatomy, defaults, rules)


def _plan(
    source: Source, read: _Read, keep: tuple[str, ...] = (), without: tuple[str, ...] = (), *, every: bool = False
) -> Plan | Refused:
    converted = converted_parameters(source.path, source.package)
    rules = tuple(rule for rule in read.rules if rule.name not in without)
    subject = Subject(read.tree, read.anatomy, read.defaults, keep, converted, source.siblings, every=False)
    plan = make_plan(search(rules, subject), read.tree, read.anatomy, rules, keep)
    if isinstance(plan, Refused) or (is_settled(plan) and not every):
        return plan
    subject = replace(subject, every=True, failures=[], first_reasons={})  # to say why, no rule may be passed over
    return make_plan(search(rules, subject), read.tree, read.anatomy, rules, keep)


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

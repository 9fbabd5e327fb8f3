"""What porter sees in a source, and the rules it knows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from porter.report.blocks import Block, Report, Words, tabulated
from porter.report.diagnostic import to_json
from porter.report.port import of_sites, of_source, sites_data

if TYPE_CHECKING:
    from porter.convert import Inspection
    from porter.rulebook import LoadedRule


def of_inspection(inspection: Inspection, *, verbose: bool = False) -> Report:
    """Every site and its fate, and what is unknown or left at the end; `verbose`: which class has which role too."""
    anatomy = inspection.plan.anatomy
    roles: dict[str, list[str]] = {}
    for owner, role in anatomy.roles.items():
        roles.setdefault(role, []).append(owner)
    parts: list[Block] = [f"{of_source(inspection.source)}\nentry point: {anatomy.causal}"]
    if verbose:
        parts.append(tabulated(("part", "classes"), [(role, ", ".join(owners)) for role, owners in roles.items()]))
    parts += of_sites(inspection.sites)
    if anatomy.unknown:
        parts.append(Words(f"unknown classes: {', '.join(anatomy.unknown)}", "open"))
    left = [site.name for site in inspection.sites if site.is_left]
    if left:
        parts.append(Words(f"left, whole or in part: {', '.join(left)}", "open"))
    return parts


def inspection_data(inspection: Inspection) -> dict[str, Any]:
    from porter.plan import explain

    left = {site.name for site in inspection.sites if site.is_left}
    plan = inspection.plan
    source = inspection.source
    return {
        "source": {
            "module": source.module,
            "version": source.version,
            "file": source.display,
            "sha256": source.sha256,
        },
        "class": plan.anatomy.causal,
        "roles": dict(plan.anatomy.roles),
        "unknown": list(plan.anatomy.unknown),
        "sites": sites_data(inspection.sites),
        "misses": [to_json(explain(plan, site)) for site in plan.anatomy.sites if site.name in left],
    }


def of_rules(rules: Iterable[LoadedRule]) -> Report:
    rules = tuple(rules)
    shown = tabulated(("rule", "sites", "what it does"), [(rule.name, _places(rule), rule.summary) for rule in rules])
    own = [(rule, rule.folder) for rule in rules if rule.folder is not None]
    lines = [f"{rule.name}: of {folder.origin}{'; not proved' if rule.lacks else ''}" for rule, folder in own]
    return [shown, *(["\n".join(lines)] if lines else [])]


def _places(rule: LoadedRule) -> str:
    return ", ".join(dict.fromkeys(edit.site for edit in rule.declared.edits))


def rules_data(rules: Iterable[LoadedRule]) -> list[dict[str, Any]]:
    return [
        {
            "rule": rule.name,
            "summary": rule.summary,
            "file": rule.path,
            "sha256": rule.sha256,
            "from": None if rule.folder is None else rule.folder.package or str(rule.folder.path),
            "lacks": [to_json(lack) for lack in rule.lacks],
            "edits": [{"name": edit.name, "site": edit.site, "unit": edit.unit} for edit in rule.declared.edits],
            "document": rule.document,
        }
        for rule in rules
    ]

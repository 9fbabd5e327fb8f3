"""What the stages yield -> the text and the JSON data that commands print. Nothing is printed here.

Text is plain, the same on a terminal and in a pipe. Every site of a model is named, also those that no rule took.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from porter.diagnostics import to_json
from porter.ported import Ported, SiteReport

if TYPE_CHECKING:  # the text of one command does not pay for the stages of another
    from porter.convert import Inspection
    from porter.emit import Difference, Written
    from porter.rule import LoadedRule
    from porter.source import Source


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, right: frozenset[int] = frozenset()) -> str:
    """Columns two blanks apart; those in `right` are aligned to the right, the last one is as long as it is."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def of_source(source: Source) -> str:
    if source.module is None:
        return source.display
    return f"{source.module} ({source.package} {source.version})" if source.version else source.module


def of_sites(sites: Sequence[SiteReport]) -> str:
    """A line a site: the rules that took it, or why none did; then the sum."""
    shown = [(site.name, site.kind, str(site.line), _fate(site)) for site in sites]
    counts = Counter(site.status for site in sites)
    total = f"{len(sites)} sites: {counts['ported']} ported, {counts['kept']} kept, {counts['left']} left as they are"
    return table(("site", "kind", "line", "rule, or why none"), shown, right=frozenset({2})) + f"\n\n{total}"


def _fate(site: SiteReport) -> str:
    if site.status == "ported":
        return ", ".join(site.rules)
    return f"- {site.status}: {site.reason}" if site.reason else f"- {site.status}"


def of_conversion(ported: Ported, written: Written, shown_as: Path) -> str:
    lines = [f"{of_source(ported.source)} -> {shown_as}", "", of_sites(ported.sites)]
    split = ported.split_points
    if split is not None:
        against = f", checked against {split.checked_against}" if split.checked_against else ""
        lines.append(f"split points of {split.layer_class}: {', '.join(split.row_parallel) or 'none'}{against}")
        lines += [f"  {note}" for note in split.notes]
    lines += ["", f"wrote {', '.join(written.files)}"]
    return "\n".join(lines)


def conversion_data(ported: Ported, written: Written, shown_as: Path) -> dict[str, Any]:
    return {
        "name": ported.name,
        "class": ported.causal_class,
        "folder": str(shown_as),
        "files": list(written.files),
        "registered": written.registry is not None,
        "replaced": written.replaced,
        "rules": [rule for rule, _ in ported.rules],
        "sites": sites_data(ported.sites),
    }


def sites_data(sites: Iterable[SiteReport]) -> list[dict[str, Any]]:
    return [
        {
            "site": site.name,
            "kind": site.kind,
            "line": site.line,
            "status": site.status,
            "rules": list(site.rules),
            "reason": site.reason,
        }
        for site in sites
    ]


def of_inspection(inspection: Inspection) -> str:
    anatomy = inspection.plan.anatomy
    roles: dict[str, list[str]] = {}
    for owner, role in anatomy.roles.items():
        roles.setdefault(role, []).append(owner)
    parts = table(("part", "classes"), [(role, ", ".join(owners)) for role, owners in roles.items()])
    head = f"{of_source(inspection.source)}\nentry point: {anatomy.causal}"
    return f"{head}\n\n{parts}\n\n{of_sites(inspection.sites)}"


def inspection_data(inspection: Inspection) -> dict[str, Any]:
    from porter.explain import explain

    left = {site.name for site in inspection.sites if site.status == "left"}
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
        "sites": sites_data(inspection.sites),
        "misses": [to_json(explain(plan, site)) for site in plan.anatomy.sites if site.name in left],
    }


def of_rules(rules: Iterable[LoadedRule]) -> str:
    return table(("rule", "sites", "what it does"), [(rule.name, _places(rule), rule.summary) for rule in rules])


def _places(rule: LoadedRule) -> str:
    return ", ".join(dict.fromkeys(loaded.edit.site for loaded in rule.edits))


def rules_data(rules: Iterable[LoadedRule]) -> list[dict[str, Any]]:
    return [
        {
            "rule": rule.name,
            "summary": rule.summary,
            "file": rule.path,
            "sha256": rule.sha256,
            "edits": [
                {"name": loaded.edit.name, "site": loaded.edit.site, "unit": loaded.edit.unit} for loaded in rule.edits
            ],
            "document": rule.document,
        }
        for rule in rules
    ]


def of_differences(differences: Sequence[Difference], folder: Path) -> str:
    lines: list[str] = []
    for difference in differences:
        place = f"{folder / difference.file}" + (f":{difference.line}" if difference.line else "")
        lines.append(f"{place}: {difference.problem}")
        if difference.line:
            lines += [
                f"    there:    {'(end of file)' if difference.there is None else difference.there}",
                f"    expected: {'(end of file)' if difference.expected is None else difference.expected}",
            ]
    return "\n".join(lines)


def differences_data(differences: Iterable[Difference]) -> list[dict[str, Any]]:
    return [
        {
            "file": difference.file,
            "problem": difference.problem,
            "line": difference.line,
            "there": difference.there,
            "expected": difference.expected,
        }
        for difference in differences
    ]


def of_results(results: Sequence[Any]) -> str:
    """Proofs, one a line: passed or not, its name, its figure; details where it failed."""
    rows = [("pass" if result.passed else "FAIL", str(result.name), str(result.figure)) for result in results]
    lines = table(("", "claim", "figure"), rows).split("\n")
    text = [lines[0]]
    for result, line in zip(results, lines[1:], strict=True):
        text.append(line)
        if not result.passed and result.detail:
            text += [f"      {row}" for row in str(result.detail).split("\n")]
    failed = sum(not result.passed for result in results)
    return "\n".join([*text, "", f"{len(results)} claims: {len(results) - failed} hold, {failed} fail"])


def results_data(results: Iterable[Any]) -> list[dict[str, Any]]:
    return [
        {"name": result.name, "passed": bool(result.passed), "figure": result.figure, "detail": result.detail}
        for result in results
    ]

"""What became of one site by each rule that speaks of its kind, with both texts where they part."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from porter.anatomy import Site
from porter.plan import Plan, SiteReport
from porter.plan.why import Fate
from porter.report.port import sites_data
from porter.report.wrapped import wrapped

_AROUND = 2  # lines above and below the one where the texts part
_WORDS = {"takes": "takes it", "verdict": "it is right as it is", "absent": "nothing of it is here"}


def of_why(
    plan: Plan, site: Site, report: SiteReport | None, fates: Sequence[Fate], width: int, *, wraps: bool = False
) -> str:
    """The account of a site: what it is, then rule by rule; `width` columns for the two texts together, and, where
    it `wraps`, for all lines."""
    text = _of_why(plan, site, report, fates, width)
    return "\n".join(part for line in text.split("\n") for part in (wrapped(line, width) if wraps else [line]))


def _of_why(plan: Plan, site: Site, report: SiteReport | None, fates: Sequence[Fate], width: int) -> str:
    head = f"{site.name}, {site.kind}, line {plan.tree.line(site.node)}"
    status = f": {report.status}" if report is not None else ""
    reason = f"\n{report.reason}" if report is not None and report.reason else ""
    if not fates:
        return f"{head}{status}{reason}\n\nno rule speaks of this kind of site"
    return "\n".join([f"{head}{status}{reason}", *(f"\n{_of_fate(plan, fate, width)}" for fate in fates)])


def _of_fate(plan: Plan, fate: Fate, width: int) -> str:
    name = f"{fate.rule.name} ({fate.rule.path})"
    if fate.outcome == "matches":
        where = f" (line {plan.tree.line(fate.node)})" if fate.node is not None else ""
        return f"{name}: not here: {fate.reason}{where}"
    if fate.miss is None:
        return f"{name}: {_WORDS[fate.outcome]}{f': {fate.reason}' if fate.reason else ''}"
    done, total = fate.miss.statements
    left, right = _texts(plan, fate)
    found = plan.tree.code(fate.miss.found).splitlines()[0] if fate.miss.found is not None else "nothing more"
    said = f"asks for `{fate.miss.pattern.code(fate.miss.expected)}`, finds `{found}`"
    head = f"{name}: {fate.miss.pattern.name}, {done} of {total} statements match"
    return "\n".join([head, _beside(left, right, width), _cut(f"  {said}", 2 * width)])


def _texts(plan: Plan, fate: Fate) -> tuple[tuple[str, list[str], int], tuple[str, list[str], int]]:
    """Of the rule's file and of the source: name, lines, and the number of the line where they part."""
    miss = fate.miss
    assert miss is not None
    rule = miss.pattern.file
    left = (rule.display, rule.text.split("\n"), miss.pattern.line(miss.expected))
    line = plan.tree.line(miss.found) if miss.found is not None else 0
    return left, (plan.tree.display, plan.tree.text.split("\n"), line)


def _beside(left: tuple[str, list[str], int], right: tuple[str, list[str], int], width: int) -> str:
    half = max((width - 3) // 2, 30)
    columns = [_column(*text, half) for text in (left, right)]
    height = max(map(len, columns))
    padded = [[*column, *[""] * (height - len(column))] for column in columns]
    return "\n".join(f"{one:<{half}} | {other}".rstrip() for one, other in zip(*padded, strict=True))


def _column(name: str, lines: list[str], line: int, width: int) -> list[str]:
    """The lines around one, marked with `>`; a source that ended has none."""
    if not line:
        return [_cut(f"  {name}", width), _cut("> (the source ends before this)", width)]
    first, last = max(1, line - _AROUND), min(len(lines), line + _AROUND)
    shown = textwrap.dedent("\n".join(lines[first - 1 : last])).replace("\t", "    ").split("\n")
    digits = len(str(last))
    rows = [f"{'>' if n == line else ' '} {n:>{digits}} {text}" for n, text in enumerate(shown, first)]
    return [_cut(row, width) for row in (f"  {name}:{line}", *rows)]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."


def why_data(plan: Plan, site: Site, report: SiteReport | None, fates: Sequence[Fate]) -> dict[str, Any]:
    named = {"site": site.name, "kind": site.kind, "line": plan.tree.line(site.node)}
    account = sites_data([report])[0] if report is not None else named
    return {**account, "by_rule": [_data(plan, fate) for fate in fates]}


def _data(plan: Plan, fate: Fate) -> dict[str, Any]:
    data: dict[str, Any] = {"rule": fate.rule.name, "file": fate.rule.path, "outcome": fate.outcome}
    data["reason"] = fate.reason or None
    data["line"] = plan.tree.line(fate.node) if fate.node is not None else None
    if fate.miss is not None:
        pattern, expected = fate.miss.pattern, fate.miss.expected
        found = plan.tree.statement_code(fate.miss.found) if fate.miss.found is not None else None
        data["parts"] = {
            "pattern": pattern.name,
            "matched": fate.miss.statements[0],
            "of": fate.miss.statements[1],
            "rule_file": pattern.file.display,
            "rule_line": pattern.line(expected),
            "expected": pattern.code(expected),
            "found": found,
        }
    return data

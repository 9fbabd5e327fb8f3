"""One rule as a page: what it does and why, its code, what it must not match, its proof, the sites that it takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import libcst as cst

from porter.report.blocks import Block, Code, Report, Words, tabulated
from porter.report.diagnostic import to_json
from porter.rulebook import LoadedRule, Pattern
from porter.tree import Function

_PARTS = ("Why", "Numerics", "Contract")


@dataclass(frozen=True)
class Taken:
    """Sites that a rule takes in some sources: (source, site, status). `asked` sources were searched, of `there`."""

    sites: tuple[tuple[str, str, str], ...]
    asked: int
    there: int


def of_rule(rule: LoadedRule, taken: Taken | None) -> Report:
    origin = f"of {rule.folder.origin}" if rule.folder is not None else "came with porter"
    parts: list[Block] = [f"{rule.name} ({rule.path}, {origin})", Words(rule.document.strip(), goes_on=True)]
    parts.append("\n".join(f"{name:<10} {text}" for name, text in _facts(rule)))
    for pattern in _written(rule):
        parts.append(Code(_code(pattern.before, pattern)))
        parts += [Code(_code(pattern.after, pattern))] if pattern.after is not None else []
    cases = list(_cases(rule))
    parts += [tabulated(("must not match", "why"), cases)] if cases else []
    return [*parts, f"proof      {proof_of(rule)}", *(_sites(taken) if taken is not None else [])]


def _facts(rule: LoadedRule) -> Iterator[tuple[str, str]]:
    declared = rule.declared
    yield "sites", ", ".join(f"{edit.site} ({edit.unit})" for edit in declared.edits)
    yield "answers", ", ".join(rule.needs) if not rule.is_verdict else f"{', '.join(rule.needs)}, by a verdict"
    for name, allowed in declared.guards.items():
        yield "guard", f"{name}: {' or '.join(map(repr, allowed))}"
    for name in rule.given:
        yield "relies on", f"{name}, checked by its body"
    for merged, parts in declared.merges.items():
        yield "merges", f"{', '.join(parts)} -> {merged}"
    if declared.supersedes:
        yield "supersedes", ", ".join(declared.supersedes)
    if declared.absent:
        yield "not beside", ", ".join(declared.absent)
    for file in rule.ops:
        yield "ops", f"{', '.join(file.ops)}, of ops/{file.name}.py"
    yield "sha256", rule.sha256


def _written(rule: LoadedRule) -> Iterator[Pattern]:
    """Each pattern as it is written: without its other spellings, which optional parts make."""
    for loaded in rule.edits:
        yield from {pattern.name: pattern for pattern in reversed(loaded.patterns)}.values()


def _code(function: Function, pattern: Pattern) -> str:
    whole = pattern.file.functions.get(function.name.value, function)
    return cst.Module([]).code_for_node(whole.with_changes(leading_lines=())).rstrip()


def _cases(rule: LoadedRule) -> Iterator[tuple[str, str]]:
    for case in rule.code.negatives:
        yield case.name, " ".join((case.before.get_docstring() or "").split())


def proof_of(rule: LoadedRule) -> str:
    """What its proof lacks, or how to run it."""
    if rule.lacks:
        return "; ".join(lack.message for lack in rule.lacks)
    return f"run it: porter prove {rule.name}"


def _sites(taken: Taken) -> Report:
    rows = list(taken.sites)
    asked = f"{taken.asked} of {taken.there} sources that hold its words were searched"
    more = "; --all searches the others" if taken.asked < taken.there else ""
    listed = [tabulated(("source", "site", "status"), rows)] if rows else []
    return [*listed, f"sites taken: {len(rows)}; {asked}{more}"]


def rule_data(rule: LoadedRule, taken: Taken | None) -> dict[str, Any]:
    return {
        "rule": rule.name,
        "file": rule.path,
        "from": None if rule.folder is None else rule.folder.package or str(rule.folder.path),
        "sha256": rule.sha256,
        "summary": rule.summary,
        **{part.lower(): part_of(rule.document, part) for part in _PARTS},
        "edits": [{"name": edit.name, "site": edit.site, "unit": edit.unit} for edit in rule.declared.edits],
        "answers": list(rule.needs),
        "verdict": rule.is_verdict,
        "guards": {name: list(allowed) for name, allowed in rule.declared.guards.items()},
        "patterns": [
            {
                "before": _code(pattern.before, pattern),
                "after": _code(pattern.after, pattern) if pattern.after is not None else None,
            }
            for pattern in _written(rule)
        ],
        "must_not_match": [{"case": name, "why": why} for name, why in _cases(rule)],
        "ops": [op for file in rule.ops for op in file.ops],
        "lacks": [to_json(lack) for lack in rule.lacks],
        "sites": None if taken is None else [_site(*row) for row in taken.sites],
        "searched": None if taken is None else {"sources": taken.asked, "of": taken.there},
    }


def _site(source: str, site: str, status: str) -> dict[str, str]:
    return {"source": source, "site": site, "status": status}


def part_of(document: str, name: str) -> str | None:
    """What stands behind `Why:` in a docstring, up to the next part."""
    lines: Sequence[str] = document.split("\n")
    start = next((number for number, line in enumerate(lines) if line.startswith(f"{name}:")), None)
    if start is None:
        return None
    rest = lines[start + 1 :]
    end = next((number for number, line in enumerate(rest) if line and not line[0].isspace()), len(rest))
    return " ".join(" ".join([lines[start].removeprefix(f"{name}:"), *rest[:end]]).split())

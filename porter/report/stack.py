"""What `porter doctor` found -> text and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from porter.release.doctor import UNTESTED, WRONG, Part
from porter.release.tested import Tried
from porter.report.blocks import Report, Row, Table, Tone, Words

_TONES: dict[str, Tone] = {WRONG: "bad", UNTESTED: "open"}


def of_stack(parts: Sequence[Part], tested: Iterable[Tried]) -> Report:
    rows = [Row((part.name, part.version or "-", part.state, part.note), _TONES.get(part.state, "")) for part in parts]
    wrong = [part.name for part in parts if part.state == WRONG]
    untested = [part.name for part in parts if part.state == UNTESTED]
    said = f"wrong: {', '.join(wrong)}" if wrong else "nothing is wrong"
    said += f"; untested: {', '.join(untested)}" if untested else ""
    known = list(tested)
    return [
        *([of_tested(known)] if known else []),
        Table(("part", "version", "", "what is known, and what to do"), tuple(rows)),
        Words(f"{said}; kernel: not run", "bad" if wrong else "open" if untested else ""),
    ]


def of_tested(tested: Sequence[Tried]) -> Table:
    """A row for each environment that porter was run in."""
    head = ("torch", "transformers", "short suite", "ports whole", "checks", "files converted", "whole")
    cells = [
        (
            row.torch,
            row.transformers,
            "passed" if row.short else "failed",
            f"{row.whole} of {len(row.ports)}",
            str(row.passed),
            f"{row.library['converted']} of {row.library['files']}" if row.library else "-",
            str(row.library["whole"]) if row.library else "-",
        )
        for row in tested
    ]
    rows = zip(tested, cells, strict=True)
    return Table(head, tuple(Row(line, "" if row.good else "bad") for row, line in rows))


def stack_data(parts: Iterable[Part], tested: Iterable[Tried]) -> dict[str, Any]:
    rows = [{"torch": row.torch, "transformers": row.transformers, "good": row.good} for row in tested]
    return {"parts": [asdict(part) for part in parts], "tested": rows, "kernels_run": False}

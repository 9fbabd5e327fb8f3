"""What `porter doctor` found -> text and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from porter.release.doctor import UNTESTED, WRONG, Part
from porter.release.tested import Tried
from porter.report.table import table


def of_stack(parts: Sequence[Part], tested: Iterable[Tried]) -> str:
    lines = [(part.name, part.version or "-", part.state, part.note) for part in parts]
    wrong = [part.name for part in parts if part.state == WRONG]
    untested = [part.name for part in parts if part.state == UNTESTED]
    said = f"wrong: {', '.join(wrong)}" if wrong else "nothing is wrong"
    said += f"; untested: {', '.join(untested)}" if untested else ""
    return "\n\n".join(
        (
            table(("part", "version", "", "what is known, and what to do"), lines),
            f"{said}; kernel: not run",
            *([of_tested(rows)] if (rows := list(tested)) else []),
        )
    )


def of_tested(tested: Iterable[Tried]) -> str:
    """A row for each environment that porter was run in."""
    head = ("torch", "transformers", "short suite", "ports whole", "checks", "files converted", "whole")
    rows = [
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
    return table(head, rows)


def stack_data(parts: Iterable[Part], tested: Iterable[Tried]) -> dict[str, Any]:
    rows = [{"torch": row.torch, "transformers": row.transformers, "good": row.good} for row in tested]
    return {"parts": [asdict(part) for part in parts], "tested": rows, "kernels_run": False}

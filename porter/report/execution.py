"""What the executed graphs of a port computed beside its source, or where they stopped."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from porter.report.blocks import Block, Report, Words, tabulated

if TYPE_CHECKING:
    from porter.graph.execute import Execution, Stop


def of_execution(found: Execution) -> Report:
    rows = [
        (step.phase, str(step.steps), str(sum(step.nodes.values())), f"{step.error:.1e}", str(step.differ))
        for step in found.ran
    ]
    header = ("graph executed on the CPU", "steps", "GE nodes", "logits differ by", "tokens that differ")
    parts: list[Block] = [tabulated(header, rows, right=(1, 2, 3, 4))] if rows else []
    if found.rule is not None:
        parts.append(f"{found.rule.figure:.3f} {found.rule.unit}: {found.rule.detail}")
    if found.stop is not None:
        parts.append(Words(_stopped(found.stop), "bad"))
    elif found.agrees:
        parts.append(f"the graphs compute what the source computes, in {found.dtype}")
    else:
        parts.append(Words("the graphs DO NOT compute what the source computes", "bad"))
    return parts


def _stopped(stop: Stop) -> str:
    where = "" if stop.place is None else f"\n    {stop.place.line}: {stop.place.code}".rstrip(": ")
    return f"graph of the {stop.phase}, not executed to its end: {stop.reason}{where}"


def execution_data(found: Execution) -> dict[str, Any]:
    return {**asdict(found), "agrees": found.agrees, "kernels_run": False}

"""One claim of a port and the figures recorded of it, as a value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from porter.report.review.drawing import Phase

PASSED, FAILED, NOT_RECORDED, NOT_RUN = "passed", "failed", "not recorded", "not run"


@dataclass(frozen=True)
class Figure:
    """One claim: what is recorded of it, where; or the command that would find it."""

    claim: str
    outcome: str
    said: str
    source: str = ""
    command: str = ""


def of_phases(phases: Sequence[Phase], made_by: str, where: str) -> Figure:
    parts, good = [], bool(phases)
    for phase in phases:
        good = good and phase.port.count is not None
        before = phase.source.count if phase.source.count is not None else "does not convert"
        after = phase.port.count if phase.port.count is not None else f"stops at {phase.port.stopped}"
        parts.append(f"{phase.name} {before} -> {after}")
    said = f"kernels a layer, source -> port: {'; '.join(parts)} ({made_by})"
    return Figure("lowering", PASSED if good else FAILED, said, where)

"""What the levels find that need the graphs of TorchAir.

    lowering  kernels a layer, the source's and the port's, and which of the port's are no fused op's and no product
    graph     the port's GE graphs, executed on the CPU beside its source

Contract: as of `findings`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from porter.diagnostics import Refused
from porter.matrix.task import Found, Task, no_answer

if TYPE_CHECKING:
    from porter.lowering.count import Line


def lowering(task: Task) -> Found:
    from porter.lowering.lower import PHASES, lower

    lowered = lower(task.port, baseline=True, attempts=False)
    if isinstance(lowered, Refused):
        raise no_answer(lowered)
    steps = {(side, step.name): step for side in ("source", "port") for step in getattr(lowered, side)}
    kernels: dict[str, dict[str, int | None]] = {name: {} for name in PHASES}
    stopped = {}
    for (side, phase), step in steps.items():
        kernels[phase][side] = step.kernels if step.converts else None
        if step.unconverted is not None:
            stopped[f"{side} {phase}"] = step.unconverted.op or step.unconverted.reason
    return {
        "outcome": "converts" if lowered.converts else "does not convert",
        "kernels": kernels,
        "beside": {step.name: _by_code(step.beside) for step in lowered.port},
        "lengths": {step.name: {"told": step.with_lengths, "attention": step.attention} for step in lowered.port},
        "unconverted": stopped,
        "torch_npu": lowered.torch_npu,
    }


def graph(task: Task) -> Found:
    from porter.graph.execute import execute

    executed = execute(task.port)
    if isinstance(executed, Refused):
        raise no_answer(executed)
    stop = executed.stop
    if stop is not None:
        where = "" if stop.place is None else f" ({stop.place.line})"
        return {"outcome": "not executed", "detail": f"{stop.phase}: {stop.reason}{where}"}
    return {
        "outcome": "equal" if executed.agrees else "different",
        "logits": float(f"{max(step.error for step in executed.ran):.1e}"),
        "tokens": f"{sum(step.differ for step in executed.ran)} differ",
        "torch_npu": executed.torch_npu,
    }


def _by_code(lines: Iterable[Line]) -> dict[str, dict[str, int]]:
    """Kernels by the text of the line that asks for them: a number of a line says nothing in a record."""
    found: dict[str, Counter[str]] = {}
    for line in lines:
        found.setdefault(line.place.code, Counter()).update(line.kernels)
    return {code: dict(kernels) for code, kernels in found.items()}

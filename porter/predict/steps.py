"""What the worker answered of a model -> its two steps, by kinds of kernels.

Contract: pure arithmetic. `FITTED` is constants.json: the constants, the chip that they were fitted on, and how far off
they are.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from porter.predict.chips import Chip
from porter.predict.duration import Constants, duration
from porter.predict.kernels import Kernel, Share, kernels_of
from porter.predict.layers import of_all_layers
from porter.predict.workload import Workload

FITTED = json.loads((Path(__file__).parent / "constants.json").read_text(encoding="utf-8"))
CONSTANTS = Constants(**FITTED["constants"])


@dataclass(frozen=True)
class Cost:
    """All kernels of one kind in a step: how often, bytes, flops, milliseconds, what keeps most of that time."""

    kind: str
    calls: int
    bytes: int
    flops: int
    milliseconds: float
    bound: str


@dataclass(frozen=True)
class Step:
    """`costs`, dearest first."""

    phase: str
    costs: tuple[Cost, ...]

    @property
    def milliseconds(self) -> float:
        return sum(cost.milliseconds for cost in self.costs)


def steps_of(answer: Mapping[str, Any], workload: Workload, chip: Chip) -> dict[str, Step]:
    """Both steps, from what the worker answered."""
    made = kernels_by_phase(answer, workload)
    return {
        phase: step_of(phase, found, chip, workload.tp, changing=answer["grows"] and phase == "decode")
        for phase, found in made.items()
    }


def kernels_by_phase(
    answer: Mapping[str, Any], workload: Workload, *, fused: bool = False
) -> dict[str, Counter[Kernel]]:
    """The kernels of both steps, of all layers. `fused`: prefill sums over ranks as npu_mm_all_reduce_base does."""
    made = {}
    for phase, graphs in answer["steps"].items():
        found = {}
        for depth, nodes in graphs.items():
            size = answer["sizes"][depth]
            in_one = fused and phase == "prefill"
            share = Share(workload.tp, workload.tokens(phase), size["row"], size["head"], tuple(size["summed"]), in_one)
            found[int(depth)] = kernels_of(nodes, share)
        made[phase] = of_all_layers(answer["kinds"], answer["shown"], found)
    return made


def step_of(
    phase: str,
    kernels: Mapping[Kernel, int],
    chip: Chip,
    ranks: int,
    *,
    constants: Constants = CONSTANTS,
    changing: bool = False,
) -> Step:
    by_kind: dict[str, list[tuple[Kernel, int]]] = {}
    for kernel, count in kernels.items():
        by_kind.setdefault(kernel.kind, []).append((kernel, count))
    costs = [_cost(kind, found, chip, constants, ranks, changing) for kind, found in by_kind.items()]
    costs.sort(key=lambda cost: (-cost.milliseconds, cost.kind))
    return Step(phase, tuple(costs))


def _cost(
    kind: str, found: Sequence[tuple[Kernel, int]], chip: Chip, constants: Constants, ranks: int, changing: bool
) -> Cost:
    by_bound: dict[str, float] = {}
    for kernel, count in found:
        took = duration(kernel, chip, constants, ranks, changing=changing)
        by_bound[took.bound] = by_bound.get(took.bound, 0.0) + count * took.seconds
    return Cost(
        kind,
        sum(count for _, count in found),
        sum(count * kernel.bytes for kernel, count in found),
        sum(count * kernel.flops for kernel, count in found),
        1e3 * sum(by_bound.values()),
        max(by_bound, key=lambda bound: by_bound[bound]),
    )

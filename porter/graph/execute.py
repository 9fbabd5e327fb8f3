"""A port's folder -> its lowered graphs executed on the CPU beside its source.

Contract: a small random model, prefill and decode steps in a static cache with left padding; in float32 within LIMIT of
the source, in 16 bits by the error rule (`halves`). Claims that the graphs which TorchAir made compute what the source
computes, not that a device's kernels do: none is run. The port must hold a static cache, as its graphs are to write it
in place.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from porter.diagnostics import Refused
from porter.graph.call import CannotCompute
from porter.graph.generate import compared
from porter.graph.halves import by_the_rule, compared_in
from porter.graph.values import Graph, Node, graph_of
from porter.lowering.count import Place, place_of, unconverted
from porter.lowering.installation import Progress
from porter.lowering.lower import SOC, file_of
from porter.lowering.named import STEPS, held
from porter.lowering.process import ask
from porter.npu import CHIPS, chip, current_chip
from porter.runtime import NpuPreTrainedModel
from porter.verify.finding import Measured
from porter.verify.pair import load, write_checkpoint
from porter.verify.parity import quiet
from porter.verify.port import open_to_compare
from porter.verify.tiny import tiny_config

LIMIT = 1e-5  # of the logits' scale, as for parity

_NO_CACHE = "this port keeps the attention and the cache of its source, which no graph writes in place"


@dataclass(frozen=True)
class Ran:
    """The steps of one phase: `error`, their worst, as a share of the logits' scale; `differ`: tokens chosen otherwise;
    `nodes`: how many of each type were computed in a step."""

    phase: str
    steps: int
    error: float
    differ: int
    nodes: dict[str, int]
    limit: float | None = LIMIT  # None: in 16 bits, where the rule is over many prompts

    @property
    def agrees(self) -> bool:
        limit = float("inf") if self.limit is None else self.limit
        return self.error <= limit and self.error != float("inf") and not self.differ  # NaN does not agree


@dataclass(frozen=True)
class Stop:
    """Why the graphs were not executed to the end, and the line that led there."""

    phase: str
    reason: str
    place: Place | None = None


@dataclass(frozen=True)
class Execution:
    name: str
    soc: str
    torch_npu: str
    cann: str
    ran: tuple[Ran, ...]
    stop: Stop | None = None
    dtype: str = "float32"
    rule: Measured | None = None  # in 16 bits: the error as a share of what it may be

    @property
    def agrees(self) -> bool:
        ran = self.stop is None and len(self.ran) == 2 and all(step.agrees for step in self.ran)
        return ran and (self.dtype == "float32" if self.rule is None else self.rule.passed)


def execute(
    directory: Path,
    *,
    soc: str = SOC,
    dtype: torch.dtype = torch.float32,
    progress: Progress | None = None,
    edited: bool = False,
    trust_remote_code: bool = False,
) -> Execution | Refused:
    """Lower and execute the port in `directory`. Refused as `lower` with a baseline is, or where the source does not
    load."""
    port = open_to_compare(directory, edited=edited, trust_remote_code=trust_remote_code)
    if isinstance(port, Refused):
        return port
    with quiet(), torch.no_grad(), tempfile.TemporaryDirectory(prefix="porter-execute-") as name:
        called = str(dtype).removeprefix("torch.")
        source_class = port.load_source_class()
        if isinstance(source_class, Refused):
            return source_class
        if not issubclass(port.load_class(), NpuPreTrainedModel):
            return Execution(port.name, soc, "", "", (), Stop("prefill", _NO_CACHE), called)
        config = tiny_config(source_class.config_class, port.origin.configuration())
        write_checkpoint(source_class, config, Path(name), dtype)
        job = {**graphs_job(directory, Path(name), dtype), "soc": soc}
        answer = ask("graphs", job, progress or (lambda *step: None))
        if isinstance(answer, Refused):
            return answer
        made_with = (port.name, soc, answer["torch_npu"], answer["cann"])
        if answer["graphs"] is None:
            found = unconverted(answer["failure"], file_of(port))
            return Execution(*made_with, (), Stop(answer["phase"], found.reason, found.place), called)
        graphs = {phase: graph_of(plain) for phase, plain in answer["graphs"].items()}
        source, model = (load(kind, Path(name), dtype) for kind in (source_class, port.load_class()))
        if dtype == torch.float32:
            return Execution(*made_with, *ran(source, model, graphs, file_of(port), soc=soc))
        phases, stop, rule = ran_in(source, model, graphs, file_of(port), Path(name), soc=soc)
        return Execution(*made_with, phases, stop, called, rule)


def graphs_job(directory: Path, checkpoint: Path, dtype: torch.dtype, *, unchecked: bool = False) -> dict[str, Any]:
    """What to ask the lowering's process for: the graphs of a port with the weights of a checkpoint."""
    called = str(dtype).removeprefix("torch.")
    return {
        "directory": str(directory.resolve()),
        "checkpoint": str(checkpoint),
        "dtype": called,
        "unchecked": unchecked,
    }


def ran(
    source: Any, model: Any, graphs: dict[str, Graph], file: str, *, soc: str = SOC, steps: int = STEPS
) -> tuple[tuple[Ran, ...], Stop | None]:
    """Both phases in float32, as far as they could be executed; `file` is the port's own, whose lines are named."""
    return _filled(lambda: compared(source, held(model), graphs, steps), graphs, file, soc, LIMIT)


def ran_in(
    source: Any, model: Any, graphs: dict[str, Graph], file: str, folder: Path, *, soc: str = SOC, steps: int = STEPS
) -> tuple[tuple[Ran, ...], Stop | None, Measured | None]:
    """The same in the 16 bits that source and port are in, and what the error rule says; `folder`: their checkpoint."""
    dtype = next(source.parameters()).dtype
    phases, stop = _filled(lambda: compared_in(source, model, graphs, steps, dtype, folder), graphs, file, soc, None)
    if stop is not None:
        return phases, stop, None
    with chip(_chip_of(soc)):
        return phases, None, by_the_rule(source, model, graphs, dtype, folder)


def _filled(
    steps: Callable[[], Iterator[tuple[str, float, int]]],
    graphs: dict[str, Graph],
    file: str,
    soc: str,
    limit: float | None,
) -> tuple[tuple[Ran, ...], Stop | None]:
    found: dict[str, list[tuple[float, int]]] = {phase: [] for phase in graphs}
    stop = None
    try:
        with chip(_chip_of(soc)):
            for phase, error, differ in steps():
                found[phase].append((error, differ))
    except CannotCompute as fault:
        phase = next(name for name, graph in graphs.items() if any(node is fault.node for node in graph.nodes))
        stop = Stop(phase, fault.reason, _place(fault.node, file))
    return tuple(_summed(phase, each, graphs[phase], limit) for phase, each in found.items() if each), stop


def _chip_of(soc: str) -> str:
    """The chip whose limits and roundings count, by the name that a driver gives it."""
    return next((name for name in CHIPS if soc.startswith(name)), current_chip())


def _summed(phase: str, steps: list[tuple[float, int]], graph: Graph, limit: float | None) -> Ran:
    errors, differ = zip(*steps, strict=True)
    worst = float(torch.tensor(errors, dtype=torch.float64).max())  # NaN stays NaN
    return Ran(phase, len(steps), worst, sum(differ), dict(Counter(node.type for node in graph.nodes)), limit)


def _place(node: Node, file: str) -> Place:
    """The line of the model's file that led to a node; the node of the graph where none is known."""
    place = place_of([list(frame) for frame in node.frames], file)
    return place if place.line else Place(f"node {node.name} of the graph")

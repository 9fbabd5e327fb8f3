"""What an acceptance run consists of, in order: a probe for each op, for each report, and for the model as a whole.

Contract: nothing is computed here; calls are recorded by shape. The order is that of trust: what is wrong in an op is
known before a model that is made of it is asked.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from porter.accept.calls import Call, calls_of
from porter.accept.checkpoint import checkpoint_by_layer, checkpoint_tokens
from porter.accept.configuration import Sizes, small
from porter.accept.layers import small_by_layer
from porter.accept.model import HALVES, in_float32, in_halves
from porter.accept.ops import probe_op
from porter.accept.probe import MODEL, OPS, TIMES, WHEEL, Probe
from porter.accept.ranks import over_ranks
from porter.accept.report_probes import At
from porter.accept.reports import report_probes, warnings
from porter.accept.sides import Sides
from porter.accept.steps import compiled_steps
from porter.accept.times import times
from porter.accept.wheel import by_the_wheel, graph_by_the_wheel
from porter.npu.chip import A2
from porter.parallel.divide import CannotShard
from porter.runner.backends import choose_backend
from porter.verify.port import Port

_SHARE, _MOST = 0.125, 8 << 30  # of the host's free memory, that one call may take; bytes at most


@dataclass(frozen=True)
class Asked:
    """What a run was asked for."""

    port: Port
    sides: Sides
    sizes: Sizes
    tp: int = 1
    model_path: Path | None = None
    cards: int = 1
    memory: int | None = None  # of a card
    backend: str | None = None


class NotTaken(ValueError):
    """The port does not take the configuration, or its ranks; the text says why."""


def plan(asked: Asked) -> tuple[Probe, ...]:
    """Every probe. Raises NotTaken. What probes need is imported, so that each process has it."""
    importlib.import_module("torch._dynamo")
    calls = recorded(asked)
    backend = choose_backend(asked.backend, asked.sides.device)
    at = At(asked.sides, backend)
    of_ops = (*_ops(calls, asked.sides), *_wheel(calls, asked))
    return (*of_ops, *report_probes(calls, model_file(asked.port), at), *_model(asked, at))


def _wheel(calls: Sequence[Call], asked: Asked) -> Iterator[Probe]:
    if asked.sides.device.type != "cpu":
        return  # an NPU's process has it loaded, and runs the ops themselves
    work = partial(by_the_wheel, calls, asked.sides)
    yield Probe("wheel: calls", WHEEL, "every op call: schema, shapes, dtypes", work, slow=True)
    graph = partial(graph_by_the_wheel, asked.port)
    yield Probe("wheel: graph", WHEEL, "prefill and decode through TorchAir", graph, slow=True)


def model_file(port: Port) -> Path:
    return port.directory / f"{port.module}.py"


def forms_used(port: Port, sizes: Sizes, tp: int = 1) -> tuple[str, ...]:
    """A warning for each form that people saw go wrong on devices and that the port uses at these sizes. Raises
    NotTaken."""
    calls = recorded(Asked(port, Sides(torch.device("cpu"), A2), replace(sizes, dtypes=sizes.dtypes[:1]), tp))
    return tuple(warnings(calls, model_file(port)))


def _model(asked: Asked, at: At) -> Iterator[Probe]:
    port, sides = asked.port, asked.sides
    yield Probe("model: float32", MODEL, "in float32", partial(in_float32, port, sides), slow=True)
    yield Probe("model: 16 bits", MODEL, "in 16 bits, by the error rule", partial(in_halves, port, sides), slow=True)
    for dtype in HALVES:
        name = str(dtype).removeprefix("torch.")
        work = partial(small_by_layer, port, sides, dtype)
        yield Probe(f"model: layers, {name}", MODEL, f"layer by layer, {name}", work, slow=True)
    yield Probe("model: compiled", MODEL, "compiled steps", partial(compiled_steps, port, at), slow=True)
    yield _over_ranks(asked)
    yield from _checkpoint(asked)
    yield Probe("times", TIMES, "port and source", partial(times, port, at, asked.sizes, asked.memory), slow=True)


def _over_ranks(asked: Asked) -> Probe:
    kind, name = asked.sides.device.type, "model: ranks"
    size = asked.tp if asked.tp > 1 or kind != "npu" else min(asked.cards, 2)
    title = f"over {size} ranks"
    if size == 1:
        return Probe(name, MODEL, "over ranks", reason="one rank was asked for: give `--tp 2` or more")
    if kind == "cuda":
        return Probe(name, MODEL, title, reason="ranks run on NPUs and on the CPU, not on CUDA")
    if kind == "npu" and asked.cards < size:
        return Probe(name, MODEL, title, reason=f"there are {asked.cards} cards")
    return Probe(name, MODEL, title, partial(over_ranks, asked.port, asked.sides, size), slow=True)


def _checkpoint(asked: Asked) -> Iterator[Probe]:
    works = {"by layer": checkpoint_by_layer, "tokens": checkpoint_tokens}
    for name, work in works.items():
        title, folder = f"real weights, {name}", asked.model_path
        ready = None if folder is None else partial(work, asked.port, asked.sides, folder)
        reason = "no checkpoint was named: give `--model-path`"
        yield Probe(f"checkpoint: {name}", MODEL, title, ready, reason, slow=True)


def recorded(asked: Asked) -> tuple[Call, ...]:
    """The port's calls at the sizes asked for; of an op that does not fit there at all, those at small ones too."""
    model_class = asked.port.load_class()
    split = asked.port.split_points if asked.tp > 1 else None
    if asked.tp > 1 and split is None:
        raise NotTaken("nothing says how the port is split over ranks")
    try:
        found = list(_at(model_class, asked.sizes, asked.tp, split))
    except (CannotShard, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise NotTaken(f"{asked.sizes.name}: {error}") from error
    lost = {call.op for call in found if call.too_large}
    if lost:
        found += [call for call in _at(model_class, small(model_class.config_class), 1, None) if call.op in lost]
    return tuple(found)


def _at(model_class: Any, sizes: Sizes, tp: int, split: dict[str, Any] | None) -> Iterator[Call]:
    for dtype in sizes.dtypes:
        for call in calls_of(model_class, sizes.config, dtype, free_memory(), tp, split):
            yield replace(call, of=sizes.name)


def free_memory() -> int:
    """Bytes that one call may take on this host: a share of what is free."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(min(int(free * _SHARE), _MOST), 1 << 28)


def _ops(calls: Sequence[Call], sides: Sides) -> Iterator[Probe]:
    for op in dict.fromkeys(call.op for call in calls):
        own = [call for call in calls if call.op == op]
        yield Probe(op, OPS, op.partition("::")[2], partial(probe_op, op, own, sides))



"""What an acceptance run consists of, in order: a probe for each op, for each report, and for the model as a whole.

Contract: nothing is computed here; calls are recorded by shape. The order is that of trust: what is wrong in an op is
known before a model that is made of it is asked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from porter.accept.calls import Call, calls_of
from porter.accept.configuration import Sizes, small
from porter.accept.ops import probe_op
from porter.accept.probe import OPS, Probe
from porter.accept.report_probes import At
from porter.accept.reports import report_probes
from porter.accept.sides import Sides
from porter.parallel.divide import CannotShard
from porter.runner.backends import choose_backend
from porter.verify.port import Port

_SHARE, _MOST = 0.25, 8 << 30  # of the host's free memory, that one call may take; bytes at most


@dataclass(frozen=True)
class Asked:
    """What a run was asked for."""

    port: Port
    sides: Sides
    sizes: Sizes
    tp: int = 1
    model_path: Path | None = None
    cards: int = 1
    backend: str | None = None


class NotTaken(ValueError):
    """The port does not take the configuration, or its ranks; the text says why."""


def plan(asked: Asked) -> tuple[Probe, ...]:
    """Every probe. Raises NotTaken."""
    calls = recorded(asked)
    backend = choose_backend(asked.backend, asked.sides.device)
    return (*_ops(calls, asked.sides), *report_probes(calls, At(asked.sides, backend)))


def recorded(asked: Asked) -> tuple[Call, ...]:
    """The port's calls at the sizes asked for; of an op that does not fit there at all, those at small ones too."""
    model_class = asked.port.load_class()
    split = asked.port.split_points if asked.tp > 1 else None
    if asked.tp > 1 and split is None:
        raise NotTaken("nothing says how the port is split over ranks")
    try:
        found = list(_at(model_class, asked.sizes, asked.tp, split))
    except (CannotShard, ValueError, TypeError, KeyError) as error:
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



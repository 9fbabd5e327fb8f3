"""The two sides of a probe: an op as the device computes it, and porter's kernel of it on the host.

Contract: both get the same values. What comes back is on the host, with what the op wrote into its arguments, as its
schema marks them. Nothing is left running on the device when a call returns. On the CPU both sides are the same kernel:
a rehearsal, in which `stand_ins` may take the place of the device's ops, so that what a probe finds can be seen.
"""

from __future__ import annotations

import runpy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from porter.npu import chip
from porter.runner.clock import wait_for

StandIn = Callable[[Any, dict[str, Any]], Any]  # (the op, its arguments by name) -> its result
_MOST_CALLS, _LONG_ENOUGH = 20, 0.05  # timed: calls, seconds


@dataclass(frozen=True)
class Sides:
    """`stands_for`: the chip whose limits and roundings the host's kernels have."""

    device: torch.device
    stands_for: str
    stand_ins: Mapping[str, StandIn] = field(default_factory=dict)

    def on_device(self, op: str, arguments: Mapping[str, Any], positional: int = 0) -> Any:
        """The op's result, and its arguments that it may have written to, as `{"result": ..., "written": ...}`."""
        moved = {name: tree_map(self._there, value) for name, value in arguments.items()}
        result = self._called(op, moved, positional)
        wait_for(self.device)
        return tree_map(_here, answered(op, result, moved))

    def on_host(self, op: str, arguments: Mapping[str, Any], positional: int = 0) -> Any:
        """The same by porter's kernel. Raises ContractError for what it refuses."""
        own = {name: tree_map(_copied, value) for name, value in arguments.items()}
        with chip(self.stands_for), torch.no_grad():
            return answered(op, _ask(overload(op), own, positional), own)

    def milliseconds(self, op: str, arguments: Mapping[str, Any], positional: int = 0) -> float:
        """Of a call on the device, the median of a few."""
        moved = {name: tree_map(self._there, value) for name, value in arguments.items()}
        spent: list[float] = []
        while len(spent) < 3 or (sum(spent) < _LONG_ENOUGH and len(spent) < _MOST_CALLS):
            wait_for(self.device)
            started = time.perf_counter()
            self._called(op, moved, positional)
            wait_for(self.device)
            spent.append(time.perf_counter() - started)
            if spent[0] > 1.0:
                break
        return 1000.0 * median(spent)

    def intercepted(self) -> TorchDispatchMode:
        """Within the block a model's calls go to the stand-ins, as calls of single ops do."""
        return _Intercepted(self)

    def call(self, right: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """The op, or what stands in for it."""
        stand_in = self.stand_ins.get(right._schema.name.partition("::")[2])
        return right(*args, **kwargs) if stand_in is None else stand_in(right, by_name(right, args, kwargs))

    def _called(self, op: str, arguments: Mapping[str, Any], positional: int) -> Any:
        right = overload(op)
        values = list(arguments.values())[:positional]
        named = dict(list(arguments.items())[positional:])
        with chip(self.stands_for), torch.no_grad():
            return self.call(right, values, named)

    def _there(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        copied = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=self.device)
        return copied.copy_(value)


class _Intercepted(TorchDispatchMode):
    def __init__(self, sides: Sides) -> None:
        super().__init__()
        self.sides = sides

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.sides.call(func, args, kwargs or {})


def overload(op: str) -> Any:
    """The op of a name, `namespace::name`."""
    namespace, _, name = op.partition("::")
    return getattr(getattr(torch.ops, namespace), name).default


def stand_ins_of(file: Path | None) -> dict[str, StandIn]:
    """`STAND_INS` of a file: what takes the place of an op on the device, in a rehearsal."""
    return {} if file is None else dict(runpy.run_path(str(file))["STAND_INS"])


def by_name(op: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call by the schema's names."""
    names = [argument.name for argument in op._schema.arguments]
    return {**dict(zip(names, args, strict=False)), **kwargs}


def _ask(function: Callable[..., Any], arguments: Mapping[str, Any], positional: int) -> Any:
    values = list(arguments.items())
    return function(*(value for _, value in values[:positional]), **dict(values[positional:]))


def answered(op: str, result: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    marked = {argument.name for argument in overload(op)._schema.arguments if argument.is_write}
    written = {name: value for name, value in arguments.items() if name in marked}
    return {"result": result, "written": written}


def _here(value: Any) -> Any:
    return value.detach().cpu() if isinstance(value, torch.Tensor) else value


def _copied(value: Any) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype).copy_(value)

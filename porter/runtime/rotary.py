"""Rotary tables: cos and sin of every position a cache has, made once, looked up by a step.

Why: a step makes them in 8 kernels, a lookup is 2. Contract: the tables are what the model's own rotary module gives,
to the bit, in its dtype, so every rope type whose frequencies stay (default, linear, llama3, yarn, ...) has them; one
whose frequencies follow the positions of a call (dynamic, longrope) is left as it is. Compiled steps look up where they
are promised positions below `length`: a device does not check the bound. In eager the CPU does, and what is beyond is
computed; so are eager calls on a device, positions that are not (B, S), and other dtypes than the table was made in.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from porter.npu.direct import is_plain

_INDEX = (torch.int64, torch.int32)  # what an embedding takes
_CHANGING = ("dynamic", "longrope")  # what transformers' dynamic_rope_update recomputes in a call


class TabledRotary(nn.Module):
    """A rotary module, `forward(x, position_ids[, layer_type]) -> cos, sin`, with tables.

    What a model reads of the module, its configuration say, is read of this one. Tables of another length are added,
    never exchanged: a graph keeps the ones it was compiled with.
    """

    def __init__(self, rotary: nn.Module) -> None:
        super().__init__()
        for name in vars(rotary).keys() - vars(self).keys():
            setattr(self, name, getattr(rotary, name))
        self.rotary = rotary
        self._latest: dict[str | None, tuple[str, str]] = {}  # layer type -> buffers of cos and sin
        self._made_for: tuple[int, torch.dtype, torch.device] | None = None
        self._promised = False

    def tabulate(self, length: int, states: torch.Tensor, promised: bool) -> None:
        """Tables for positions below `length`, in dtype and on the device of `states`."""
        self._promised |= promised
        made_for = length, states.dtype, states.device
        if made_for == self._made_for:
            return
        positions = torch.arange(length, device=states.device)[None]
        self._made_for, self._latest = made_for, {}
        kind = str(states.dtype).removeprefix("torch.")
        for layer_type in _rope_types(self.rotary):
            pair = self._made(states, positions, layer_type)
            names = f"cos_{layer_type}_{length}_{kind}", f"sin_{layer_type}_{length}_{kind}"
            for name, table in zip(names, pair, strict=True):
                self.register_buffer(name, table[0].contiguous(), persistent=False)
            self._latest[layer_type] = names

    def forward(
        self, x: torch.Tensor, position_ids: torch.Tensor, layer_type: str | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        tables = self._tables(x, position_ids, layer_type)
        if tables is None:
            return self._made(x, position_ids, layer_type)
        cos, sin = tables
        try:
            return torch.embedding(cos, position_ids), torch.embedding(sin, position_ids)
        except IndexError:  # beyond the table, in eager
            return self._made(x, position_ids, layer_type)

    def _tables(
        self, x: torch.Tensor, position_ids: torch.Tensor, layer_type: str | None
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Cos and sin (length, head_dim), where this call may look them up."""
        names, made_for = self._latest.get(layer_type), self._made_for
        if names is None or made_for is None or position_ids.dim() != 2 or position_ids.dtype not in _INDEX:
            return None
        if not (self._promised if torch.compiler.is_compiling() else is_plain(position_ids)):
            return None
        cos, sin = getattr(self, names[0]), getattr(self, names[1])
        return (cos, sin) if cos.dtype == x.dtype == made_for[1] else None  # a table cast since is not what x.dtype has

    @torch.no_grad()
    def _made(
        self, x: torch.Tensor, position_ids: torch.Tensor, layer_type: str | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return self.rotary(x, position_ids, **({} if layer_type is None else {"layer_type": layer_type}))


def tabulate_rotary(model: nn.Module, length: int, *, promised: bool = True) -> int:
    """Give the rotary modules of `model` tables of `length` positions; returns how many have one now.

    promised: steps compiled from now on have no position beyond. Without that they compute, and eager calls look up.
    """
    states = next(model.parameters()).new_empty(1)
    for path, module in list(model.named_modules()):
        if _can_be_tabled(module) and not isinstance(model.get_submodule(path.rpartition(".")[0]), TabledRotary):
            model.set_submodule(path, TabledRotary(module))
    tabled = [module for module in model.modules() if isinstance(module, TabledRotary)]
    for module in tabled:
        module.tabulate(length, states, promised)
    return len(tabled)


def _can_be_tabled(module: nn.Module) -> bool:
    """By what it takes and by its rope types; a module of its own making is left alone."""
    if isinstance(module, TabledRotary) or not hasattr(module, "rope_type"):
        return False
    if next(module.parameters(), None) is not None:
        return False
    takes = list(inspect.signature(module.forward).parameters)
    if takes[:2] != ["x", "position_ids"] or takes[2:] not in ([], ["layer_type"]):
        return False
    return all(not any(word in str(kind) for word in _CHANGING) for kind in _rope_types(module).values())


def _rope_types(rotary: nn.Module) -> dict[str | None, Any]:
    """Layer type -> rope type; None is a module that knows one only."""
    kinds: Any = rotary.rope_type
    return dict(kinds) if isinstance(kinds, dict) else {None: kinds}

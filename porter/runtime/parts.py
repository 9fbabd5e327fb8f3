"""A merged projection taken apart into the source's own modules, and put together again.

    owner.qkv                    one Linear, rows [q ; k ; v]
    owner.q_proj, k_proj, v_proj three Linears, each with its rows; `owner.qkv(x)` computes their outputs side by side

Why: what works on modules by their names (PEFT above all) finds a port's parts only as modules of their own, and wraps,
scales, replaces or merges into them as it does in the source. Contract: taken apart, the model has the module names,
parameters and state dict of its source; put together, those it was built with. Weights are not copied on taking apart.
A merge stays apart where a part is no longer a plain Linear: its adapter is alive.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from porter.runtime.products import BlockedLinear
from porter.runtime.weights import RowMerge, merges_of

_PLAIN = (nn.Linear, BlockedLinear)


class SideBySide:
    """Called in place of a merged projection that is apart: (..., in) -> (..., sum of the parts' rows)."""

    def __init__(self, owner: nn.Module, merge: RowMerge, merged: nn.Module) -> None:
        self.owner, self.merge = owner, merge
        self.merged = merged  # without weights, for the way back: its class and its flags

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([getattr(self.owner, part)(x) for part in self.merge.parts], dim=-1)


def take_apart(model: nn.Module) -> None:
    """Every merge inside `model` as the source's modules.

    RuntimeError, before anything changes, where one has hooks, weights that accelerate keeps elsewhere, or is no plain
    Linear any more: parametrized, quantized, exchanged.
    """
    owned = [(merge, path, owner) for merge in merges_of(model) for path, owner in merge.owners(model)]
    for merge, path, owner in owned:
        merged: Any = getattr(owner, merge.name)
        if type(merged) not in _PLAIN:
            raise RuntimeError(
                f"`{path}.{merge.name}` is a {type(merged).__name__} by now, and only a plain Linear is taken apart "
                f"to {', '.join(merge.parts)}: add the adapter first"
            )
        if merged.weight.is_meta and getattr(model, "hf_device_map", None):
            raise RuntimeError(
                f"`{path}.{merge.name}` is offloaded, and cannot be taken apart to {', '.join(merge.parts)}: load the "
                "port whole, add the adapter, merge it, save, and load that with a device_map"
            )
        if _has_hooks(merged):
            raise RuntimeError(
                f"`{path}.{merge.name}` has hooks, which would be lost when {', '.join(merge.parts)} become modules of "
                "their own: remove them, add the adapter, and hook the parts"
            )
    for merge, _, owner in owned:
        _take_apart(owner, merge)


def put_together(model: nn.Module) -> None:
    """Every merge inside `model` whose parts are plain Linears again as one projection, with the weights they have."""
    for side_by_side in list(_apart(model)):
        parts = [getattr(side_by_side.owner, part, None) for part in side_by_side.merge.parts]
        if _alike(parts):
            _put_together(side_by_side, parts)


def is_apart(model: nn.Module) -> bool:
    """Whether a merge inside `model` is taken apart."""
    return any(True for _ in _apart(model))


def _apart(model: nn.Module) -> Any:
    return (value for module in model.modules() for value in vars(module).values() if isinstance(value, SideBySide))


def _take_apart(owner: nn.Module, merge: RowMerge) -> None:
    merged: Any = getattr(owner, merge.name)
    sizes = [rows.shape[0] for rows in merge.split(owner, merged.weight.data)]
    parts = {
        part: nn.Linear(merged.in_features, size, merged.bias is not None, device="meta")
        for part, size in zip(merge.parts, sizes, strict=True)
    }
    for kind, parameter in list(merged.named_parameters(recurse=False)):
        for part, rows in zip(parts.values(), merge.split(owner, parameter.data), strict=True):
            # set as they are: PEFT may build its modules in a context that gives new parameters no memory
            part._parameters[kind] = _like(rows, parameter)
        merged._parameters[kind] = _like(parameter.data.new_empty(0), parameter)
    for part in parts.values():
        part.training = merged.training
        if hasattr(merged, "_is_hf_initialized"):  # else transformers draws the weights again when an adapter loads
            part._is_hf_initialized = merged._is_hf_initialized
    _exchange(owner, (merge.name,), parts)
    owner.__dict__[merge.name] = SideBySide(owner, merge, merged)


def _put_together(side_by_side: SideBySide, parts: list[Any]) -> None:
    owner, merge, merged = side_by_side.owner, side_by_side.merge, side_by_side.merged
    for kind in list(merged._parameters):
        pieces = [part._parameters[kind] for part in parts]
        if pieces[0] is None:
            continue
        joined = torch.cat([piece.data for piece in pieces])
        merged._parameters[kind] = _like(joined, pieces[0])
        for part in parts:  # each projection's memory is free before the next one is joined
            part._parameters[kind] = None
    merged.training = parts[0].training
    del owner.__dict__[merge.name]
    _exchange(owner, merge.parts, {merge.name: merged})


def _exchange(owner: nn.Module, old: tuple[str, ...], new: dict[str, Any]) -> None:
    """`new` children of `owner` where the first of the `old` stood: the order of modules is that of the source."""
    children = list(owner._modules.items())
    owner._modules.clear()
    for name, child in children:
        if name == old[0]:
            owner._modules.update(new)
        elif name not in old:
            owner._modules[name] = child


def _like(data: torch.Tensor, parameter: nn.Parameter) -> nn.Parameter:
    """`data` as a parameter with the flags that libraries left on `parameter`."""
    made = nn.Parameter(data, requires_grad=parameter.requires_grad)
    made.__dict__.update(parameter.__dict__)
    return made


def _alike(parts: list[Any]) -> bool:
    """Plain Linears, on one device and in one dtype, with biases all or none, that nobody has hooked."""
    if any(type(part) not in _PLAIN or _has_hooks(part) for part in parts):
        return False
    kinds = {(part.in_features, part.bias is None, part.weight.device, part.weight.dtype) for part in parts}
    return len(kinds) == 1


def _has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks or hasattr(module, "_hf_hook"))

"""A backward pass through an op is an error: without this it would leave out what lies behind the op, and only warn.

The error comes when the gradient is computed, not when a graph with a backward pass is traced: a step that is compiled
outside `torch.no_grad()` runs forward all the same.
"""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

_LIBRARY = torch.library.Library("porter", "FRAGMENT")
_LIBRARY.define("refused_gradient(Tensor gradient, SymInt[] size, str op) -> Tensor")


def refuse_backward(overload: torch._ops.OpOverload, library: torch.library.Library) -> None:
    """Give the op a backward pass, for its tensors and lists of them, that raises NotImplementedError."""
    name = overload._schema.name.rpartition(":")[2]

    def with_autograd(*arguments: Any, **named: Any) -> Any:
        if torch.is_grad_enabled():
            flat, form = tree_flatten((arguments, named))  # a function has gradients for tensors of its own alone
            if any(_needs_gradient(argument) for argument in flat):
                result = _WithoutGradient.apply(overload, name, form, *flat)
                return list(result) if overload._schema.returns[0].type.kind() == "ListType" else result
        with torch._C._AutoDispatchBelowAutograd():
            return overload(*arguments, **named)

    library.impl(name, with_autograd, "Autograd")


class _WithoutGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, overload: Any, name: str, form: TreeSpec, *flat: Any) -> Any:
        ctx.name = name
        ctx.sizes = [argument.shape if isinstance(argument, torch.Tensor) else None for argument in flat]
        arguments, named = tree_unflatten(flat, form)
        with torch._C._AutoDispatchBelowAutograd():
            result = overload(*arguments, **named)
        return tuple(result) if isinstance(result, list) else result

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[torch.Tensor | None, ...]:
        refused = (
            torch.ops.porter.refused_gradient(gradients[0], size, ctx.name) if needed and size is not None else None
            for needed, size in zip(ctx.needs_input_grad[3:], ctx.sizes, strict=True)
        )
        return None, None, None, *refused


def _needs_gradient(argument: Any) -> bool:
    return isinstance(argument, torch.Tensor) and argument.requires_grad


def _refuse(gradient: torch.Tensor, size: list[int], op: str) -> NoReturn:
    raise NotImplementedError(
        f"{op} has no gradient here, a port is for inference: train the source model, whose checkpoints load unchanged"
    )


def _fake(gradient: torch.Tensor, size: list[int], op: str) -> torch.Tensor:
    return gradient.new_empty(size)


for _key in ("CPU", "CUDA"):
    _LIBRARY.impl("refused_gradient", _refuse, _key)
torch.library.register_fake("porter::refused_gradient", _fake, lib=_LIBRARY)

"""A backward pass through an op is an error: without this it would leave out what lies behind the op, and only warn.

The error comes when the gradient is computed, not when a graph with a backward pass is traced: a step that is compiled
outside `torch.no_grad()` runs forward all the same. Ops with tensors among their keyword-only arguments cannot be given
a backward pass by torch.library; a port's gradients meet another op before they reach one.
"""

from __future__ import annotations

from typing import Any, NoReturn

import torch

_LIBRARY = torch.library.Library("porter", "FRAGMENT")
_LIBRARY.define("refused_gradient(Tensor gradient, SymInt[] size, str op) -> Tensor")


def refuse_backward(overload: torch._ops.OpOverload, library: torch.library.Library) -> None:
    """Give the op a backward pass that raises NotImplementedError."""
    schema = overload._schema
    if any(argument.kwarg_only and "Tensor" in str(argument.type) for argument in schema.arguments):
        return

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.sizes = [value.shape if isinstance(value, torch.Tensor) else None for value in inputs]

    def backward(ctx: Any, gradient: torch.Tensor, *others: Any) -> tuple[torch.Tensor | None, ...]:
        name = schema.name.rpartition(":")[2]
        return tuple(
            torch.ops.porter.refused_gradient(gradient, size, name) if needed and size is not None else None
            for needed, size in zip(ctx.needs_input_grad, ctx.sizes, strict=False)  # left-out defaults are not asked
        )

    torch.library.register_autograd(schema.name, backward, setup_context=setup_context, lib=library)


def _refuse(gradient: torch.Tensor, size: list[int], op: str) -> NoReturn:
    raise NotImplementedError(
        f"{op} has no gradient here, a port is for inference: train the source model, whose checkpoints load unchanged"
    )


def _fake(gradient: torch.Tensor, size: list[int], op: str) -> torch.Tensor:
    return gradient.new_empty(size)


for _key in ("CPU", "CUDA"):
    _LIBRARY.impl("refused_gradient", _refuse, _key)
torch.library.register_fake("porter::refused_gradient", _fake, lib=_LIBRARY)

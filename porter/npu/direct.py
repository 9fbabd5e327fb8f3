"""Calls an op's kernel without the dispatcher where nobody would see the difference.

Why: the dispatcher takes arguments apart and puts them together again, 4 us a call and 20 us for attention's thirty; a
decoder pays that eight times a layer. Contract: only for plain CPU tensors with no gradients recorded, nothing traced
and no dispatch mode active; everything else goes through the dispatcher, so graphs, fake tensors, profilers' modes and
the wheel's own kernels see the op. Arguments the schema does not know go there too, for its error.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

_TENSORS = frozenset({torch.Tensor, torch.nn.Parameter})
_active_modes = torch._C._len_torch_dispatch_stack


def is_plain(tensor: torch.Tensor) -> bool:
    """A CPU tensor whose values may be looked at: no stand-in for others, and nobody traces or intercepts."""
    return type(tensor) in _TENSORS and tensor.is_cpu and not torch.compiler.is_compiling() and not _active_modes()


def direct(overload: Any, kernel: Callable[..., Any]) -> Callable[..., Any]:
    """`overload`, or `kernel` at once: they compute the same."""
    names = frozenset(argument.name for argument in overload._schema.arguments)

    @functools.wraps(kernel)
    def call(*arguments: Any, **named: Any) -> Any:
        if torch.compiler.is_compiling() or torch.is_grad_enabled() or not arguments or not is_plain(arguments[0]):
            return overload(*arguments, **named)
        return kernel(*arguments, **named) if named.keys() <= names else overload(*arguments, **named)

    return call

"""Calls an op's kernel without the dispatcher in plain eager inference.

Why: the dispatcher takes arguments apart and puts them together again, 4 us a call and 20 us for attention's thirty; a
decoder pays that eight times a layer. Contract: results are the op's. It is only done for CPU tensors with no gradients
recorded, nothing traced or transformed and no mode active: everything else goes through the dispatcher, so graphs, fake
tensors, modes and the wheel's own kernels see the op. What differs: a profiler names what the kernel calls, not the op,
and a call that no signature fits is Python's TypeError where only the number of arguments is wrong.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

TENSORS = frozenset({torch.Tensor, torch.nn.Parameter})
_modes, _function_modes = torch._C._len_torch_dispatch_stack, torch._C._len_torch_function_stack
_tracing, _transform = torch._C._get_tracing_state, torch._C._functorch.peek_interpreter_stack
_includes, _BEFORE_DISPATCH = torch._C._dispatch_tls_is_dispatch_key_included, torch._C.DispatchKey.PreDispatch


def is_plain(tensor: torch.Tensor) -> bool:
    """A CPU tensor whose values may be looked at: no stand-in for others, and nobody traces or intercepts."""
    if torch.compiler.is_compiling() or type(tensor) not in TENSORS or not tensor.is_cpu:
        return False
    return not (_modes() or _function_modes() or _tracing() or _transform() or _includes(_BEFORE_DISPATCH))


def _first(argument: Any) -> Any:
    """The argument, or the first of a list of tensors."""
    return argument[0] if type(argument) in (list, tuple) and argument else argument


def direct(overload: Any, kernel: Callable[..., Any], plain: Callable[..., Any]) -> Callable[..., Any]:
    """`overload`, or `plain` at once, which computes the same; `kernel` gives the name, signature and docstring."""
    names = frozenset(argument.name for argument in overload._schema.arguments)

    @functools.wraps(kernel)
    def call(*arguments: Any, **named: Any) -> Any:
        if torch.is_grad_enabled() or not arguments or not is_plain(_first(arguments[0])):
            return overload(*arguments, **named)
        return plain(*arguments, **named) if named.keys() <= names else overload(*arguments, **named)

    return call

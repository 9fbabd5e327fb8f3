"""Puts ops under `torch.ops.npu`: schema, kernel, fake kernel, and how an in-place op becomes a pure one.

A kernel is PyTorch code, so one serves the CPU and CUDA; on CUDA it waits for no value, and none has been run there.

Where the torch_npu wheel is loaded in this process its schemas and fake kernels are there already: then only CPU
kernels are added. Load the wheel first: it cannot define schemas that exist.
"""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch

from porter.npu.direct import direct
from porter.npu.no_gradient import refuse_backward

_LIBRARY = torch.library.Library("npu", "FRAGMENT")  # kernels live as long as this object
_calls: dict[str, Callable[..., Any]] = {}


@dataclass(frozen=True)
class Op:
    """One op: the wheel's schema, what it computes, and what it returns for shapes alone.

    plain: computes the same to the bit where nothing is traced (`porter.npu.direct`), and may work in memory of its
    own in place; the kernel itself by default. Only the first argument is known to be a plain tensor.
    """

    schema: str
    kernel: Callable[..., Any]
    fake: Callable[..., Any]
    plain: Callable[..., Any] | None = None
    pure: str | None = None  # for an in-place op: the op that computes the same out of place

    @property
    def name(self) -> str:
        return self.schema.partition("(")[0]


def implemented() -> tuple[str, ...]:
    """Names of the ops that have a CPU kernel here, in the order they were registered."""
    return tuple(_calls)


def call_of(name: str) -> Callable[..., Any]:
    """The op as a function, as `torch_npu` has it: see `direct`."""
    return _calls[name]


def register(ops: Iterable[Op]) -> None:
    for op in ops:
        from_wheel = hasattr(torch.ops.npu, op.name)
        if not from_wheel:
            _LIBRARY.define(op.schema)
        for key in ("CPU", "CUDA"):
            _LIBRARY.impl(op.name, _below_autograd(op.kernel), key)
        overload = getattr(torch.ops.npu, op.name).default
        if not from_wheel:
            torch.library.register_fake(f"npu::{op.name}", op.fake, lib=_LIBRARY)
            if op.pure is not None:
                _functionalize(overload, getattr(torch.ops.npu, op.pure).default)
            else:
                refuse_backward(overload, _LIBRARY)
        overload.__doc__ = op.kernel.__doc__
        _calls[op.name] = direct(overload, op.kernel, op.plain or op.kernel)


def _below_autograd(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """Inference only. Otherwise autograd would record inside the kernel, and a cache would drag its history along."""

    @functools.wraps(kernel)
    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():  # nothing is recorded: spare the step of a decoder the switch
            return kernel(*args, **kwargs)
        with torch._C._AutoDispatchBelowAutograd():
            return kernel(*args, **kwargs)

    return run


def _functionalize(in_place: torch._ops.OpOverload, pure: torch._ops.OpOverload) -> None:
    """AOTAutograd cannot do this by itself for an op that returns what it wrote to."""

    @in_place.py_functionalize_impl
    def functional(ctx: Any, target: torch.Tensor, *args: Any) -> torch.Tensor:
        inner, *rest = ctx.unwrap_tensors((target, *args))
        with ctx.redispatch_to_next():
            written = pure(inner, *rest)
        ctx.replace(target, written)
        ctx.commit_update(target)
        ctx.sync(target)
        return target

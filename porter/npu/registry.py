"""Puts ops under `torch.ops.npu`, or the namespace of a schema: schema, kernel, fake kernel, and how an in-place op
becomes a pure one. Ops of one's own (`porter.npu.own`) are put there by the same call.

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

_NPU = "npu"
_libraries: dict[str, torch.library.Library] = {}  # kernels live as long as these objects
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
        return self.schema.partition("(")[0].rpartition("::")[2].strip()

    @property
    def namespace(self) -> str:
        """What is before `::` in the schema, by default `npu`."""
        return self.schema.partition("(")[0].rpartition("::")[0].strip() or _NPU


def implemented() -> tuple[str, ...]:
    """Names of the ops that have a CPU kernel here, in the order they were registered."""
    return tuple(_calls)


def call_of(name: str) -> Callable[..., Any]:
    """The op as a function, as `torch_npu` has it: see `direct`."""
    return _calls[name]


def register(ops: Iterable[Op]) -> None:
    for op in ops:
        _calls[op.name] = put(op)


def put(op: Op) -> Callable[..., Any]:
    """Put one op under its namespace; the op as a function. A library that has it keeps its schema and its kernels."""
    namespace = getattr(torch.ops, op.namespace)
    library = _libraries.setdefault(op.namespace, torch.library.Library(op.namespace, "FRAGMENT"))
    from_wheel = hasattr(namespace, op.name)
    if not from_wheel:
        library.define(op.schema.strip().removeprefix(f"{op.namespace}::"))
    for key in ("CPU", "CUDA"):
        if not torch._C._dispatch_has_kernel_for_dispatch_key(f"{op.namespace}::{op.name}", key):
            library.impl(op.name, _below_autograd(op.kernel), key)
    overload = getattr(namespace, op.name).default
    if not from_wheel:
        torch.library.register_fake(f"{op.namespace}::{op.name}", op.fake, lib=library)
        if op.pure is not None:
            _functionalize(overload, getattr(namespace, op.pure).default)
        else:
            refuse_backward(overload, library)
    overload.__doc__ = op.kernel.__doc__
    return direct(overload, op.kernel, op.plain or op.kernel)


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

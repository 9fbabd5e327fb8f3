"""What a broken op contract looks like, and how limits are tested on sizes that may be symbolic.

A limit is the one that the torch_npu op documentation (or, where it is silent, the public CANN operator source)
states.
"""

from collections.abc import Collection, Sequence
from typing import TypeAlias

import torch

from porter.npu.direct import TENSORS

Size: TypeAlias = int | torch.SymInt
HALF_OR_FLOAT = (torch.float16, torch.bfloat16, torch.float32)
INDEX = (torch.int32, torch.int64)


class ContractError(RuntimeError):
    """An op was called in a way the device refuses, or would answer with something undefined.

    A RuntimeError, as the device's own refusal is: who catches one there catches the same here.
    """

    def __init__(self, op: str, argument: str, limit: str, got: object) -> None:
        super().__init__(f"{op}: {argument} {limit}, got {got}")
        self.op = op
        self.argument = argument
        self.limit = limit
        self.got = got


def violated(condition: bool | torch.SymBool) -> bool:
    """True when the condition is known not to hold; a size that is only known at run time is checked there."""
    if condition is True or condition is False:
        return not condition
    from torch.fx.experimental.symbolic_shapes import guard_or_true  # costs sympy: only where shapes are symbolic

    return not guard_or_true(condition)


def same_sizes(left: Sequence[Size], right: Sequence[Size]) -> bool:
    return len(left) == len(right) and not any(violated(a == b) for a, b in zip(left, right, strict=True))


def check_dtype(op: str, argument: str, tensor: torch.Tensor, allowed: Collection[torch.dtype]) -> None:
    if tensor.dtype not in allowed:
        raise ContractError(op, argument, f"must be one of {', '.join(map(str, allowed))}", tensor.dtype)


def check_same_dtype(op: str, argument: str, tensor: torch.Tensor, reference: str, dtype: torch.dtype) -> None:
    if tensor.dtype is not dtype:
        raise ContractError(op, argument, f"must have the dtype of {reference} ({dtype})", tensor.dtype)


def check_rank(op: str, argument: str, tensor: torch.Tensor, least: int, most: int) -> None:
    if not least <= tensor.dim() <= most:
        wanted = f"{least}" if least == most else f"{least} to {most}"
        raise ContractError(op, argument, f"must have {wanted} dimensions", f"{tensor.dim()} {shape(tensor)}")


def check_not_empty(op: str, argument: str, tensor: torch.Tensor) -> None:
    if any(violated(size > 0) for size in tensor.shape):
        raise ContractError(op, argument, "must not be empty", shape(tensor))


def check_values(op: str, argument: str, values: torch.Tensor, least: int, end: int) -> None:
    """Integers in [least, end), where they can be read: on the CPU and not while a graph is traced. What a device does
    not check, it may read or write beyond."""
    if type(values) not in TENSORS or not values.is_cpu or not values.numel():
        return
    for found in torch.aminmax(values):
        if not least <= int(found) < end:
            raise ContractError(op, argument, f"must be {least} to {end - 1} (not checked on the device)", int(found))


def shape(tensor: torch.Tensor) -> tuple[Size, ...]:
    """A shape as an error prints it: (2, 7, 64)."""
    return tuple(tensor.shape)

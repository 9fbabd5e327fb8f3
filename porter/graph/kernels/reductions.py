"""Over axes. Sums of 16-bit numbers are taken in float32 and rounded once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from porter.graph.call import Kernel
from porter.graph.kernels.shapes import ints
from porter.npu.rounding import rounded, widened


def _over(x: Tensor, axes: Tensor) -> list[int]:
    return ints(axes) or list(range(x.dim()))


def reduce_sum(x: Tensor, axes: Tensor, *, keep_dims: bool = False) -> Tensor:
    """Integers stay of their type."""
    if not x.is_floating_point():
        return x.sum(_over(x, axes), keepdim=keep_dims, dtype=x.dtype)
    return rounded(widened(x).sum(_over(x, axes), keepdim=keep_dims), x.dtype)


def reduce_mean(x: Tensor, axes: Tensor, *, keep_dims: bool = False) -> Tensor:
    return rounded(widened(x).mean(_over(x, axes), keepdim=keep_dims), x.dtype)


def reduce_max(x: Tensor, axes: Tensor, *, keep_dims: bool = False) -> Tensor:
    return x.amax(_over(x, axes), keepdim=keep_dims)


def reduce_any(x: Tensor, axes: Tensor, *, keep_dims: bool = False) -> Tensor:
    return x.any(_over(x, axes), keepdim=keep_dims)


def reduce_all(x: Tensor, axes: Tensor, *, keep_dims: bool = False) -> Tensor:
    return x.all(_over(x, axes), keepdim=keep_dims)


def cumsum(x: Tensor, axis: Tensor) -> Tensor:
    (along,) = ints(axis)
    return x.cumsum(along, dtype=x.dtype)


def softmax_v2(x: Tensor, *, axes: Sequence[int] = (-1,), half_to_float: bool = False) -> Tensor:
    """In float32; of float16 it stays so where half_to_float says."""
    (axis,) = axes
    made = widened(x).softmax(axis)
    return made if half_to_float and x.dtype is torch.float16 else rounded(made, x.dtype)


def top_k_v2(
    x: Tensor, k: Tensor, *, sorted_: bool = True, dim: int = -1, largest: bool = True
) -> tuple[Tensor, Tensor]:
    """Values and int32 places; sorted whether asked for or not."""
    (count,) = ints(k)
    values, places = x.topk(count, dim, largest, True)
    return values, places.int()


def arg_max_with_value(x: Tensor, *, dimension: int, keep_dims: bool = False) -> tuple[Tensor, Tensor]:
    """int32 places of the largest, the first of equal ones, and the values."""
    values, places = x.max(dimension, keep_dims)
    return places.int(), values


def arg_max_v2(x: Tensor, dimension: Tensor) -> Tensor:
    (axis,) = ints(dimension)
    return x.argmax(axis)


KERNELS = {
    "ReduceSum": Kernel(reduce_sum),
    "ReduceMean": Kernel(reduce_mean, {"noop_with_empty_axes": True}),
    "ReduceMax": Kernel(reduce_max),
    "ReduceAny": Kernel(reduce_any),
    "ReduceAll": Kernel(reduce_all),
    "Cumsum": Kernel(cumsum, {"exclusive": False, "reverse": False}),
    "SoftmaxV2": Kernel(softmax_v2),
    "TopKV2": Kernel(top_k_v2),
    "TopK": Kernel(top_k_v2),
    "ArgMaxWithValue": Kernel(arg_max_with_value),
    "ArgMaxV2": Kernel(arg_max_v2, {"dtype": 9}),
}

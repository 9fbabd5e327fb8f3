"""What moves no number, or only moves them. Sizes and axes come as tensors of integers or as attributes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from porter.graph.call import Kernel, Tensors
from porter.graph.types import numbered


def ints(tensor: Tensor) -> list[int]:
    """The numbers of a tensor of sizes, axes or places."""
    return [int(value) for value in tensor.flatten().tolist()]


def reshape(x: Tensor, shape: Tensor) -> Tensor:
    """One size may be -1."""
    return x.reshape(ints(shape))


def unsqueeze(x: Tensor, *, axes: Sequence[int]) -> Tensor:
    """`axes` are those of the result."""
    rank = x.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def squeeze(x: Tensor, *, axis: Sequence[int] = ()) -> Tensor:
    """The axes of size 1 that are named, or all."""
    if any(x.shape[each] != 1 for each in axis):
        raise ValueError(f"axes {list(axis)} of {tuple(x.shape)} are not all of size 1")
    return x.squeeze(tuple(axis)) if axis else x.squeeze()


def expand_dims(x: Tensor, axis: Tensor) -> Tensor:
    return unsqueeze(x, axes=ints(axis))


def transpose(x: Tensor, perm: Tensor) -> Tensor:
    return x.permute(ints(perm))


def split_v(x: Tensor, size_splits: Tensor, split_dim: Tensor, *, num_split: int) -> Sequence[Tensor]:
    """Pieces of the given sizes; one of them may be -1."""
    (axis,), sizes = ints(split_dim), ints(size_splits)
    if len(sizes) != num_split:
        raise ValueError(f"num_split is {num_split}, with {len(sizes)} sizes")
    if -1 in sizes:
        sizes[sizes.index(-1)] = x.shape[axis] - sum(sizes) - 1
    return x.split(sizes, axis)


def split(split_dim: Tensor, x: Tensor, *, num_split: int) -> Sequence[Tensor]:
    """Equal pieces."""
    (axis,) = ints(split_dim)
    if x.shape[axis] % num_split:
        raise ValueError(f"axis {axis} of {tuple(x.shape)} has no {num_split} equal pieces")
    return x.split(x.shape[axis] // num_split, axis)


def split_d(x: Tensor, *, split_dim: int, num_split: int) -> Sequence[Tensor]:
    return split(torch.tensor(split_dim), x, num_split=num_split)


def concat_v2(x: Tensors, concat_dim: Tensor, *, N: int = 1) -> Tensor:
    (axis,) = ints(concat_dim)
    return _joined(x, axis, N)


def concat_d(x: Tensors, *, concat_dim: int, N: int = 1) -> Tensor:
    return _joined(x, concat_dim, N)


def _joined(x: Tensors, axis: int, count: int) -> Tensor:
    if len(x) != count or len({tensor.dtype for tensor in x}) > 1:
        raise ValueError(f"N is {count}, with {len(x)} tensors of {', '.join(str(each.dtype) for each in x)}")
    return torch.cat(x, axis)


def pack(x: Tensors, *, N: int, axis: int = 0) -> Tensor:
    if len(x) != N:
        raise ValueError(f"N is {N}, with {len(x)} tensors")
    return torch.stack(x, axis)


def unpack(x: Tensor, *, num: int, axis: int = 0) -> Sequence[Tensor]:
    """The slices along an axis, without it."""
    if x.shape[axis] != num:
        raise ValueError(f"num is {num}, axis {axis} of {tuple(x.shape)}")
    return x.unbind(axis)


def strided_slice_v2(
    x: Tensor,
    begin: Tensor,
    end: Tensor,
    axes: Tensor | None = None,
    strides: Tensor | None = None,
    *,
    begin_mask: int = 0,
    end_mask: int = 0,
) -> Tensor:
    """`begin:end:stride` of each of `axes`, by default of the first ones; beyond the end is the end, negative places
    count from it. Bit i of a mask: place i is left open."""
    begins, ends = ints(begin), ints(end)
    named = list(range(len(begins))) if axes is None else ints(axes)
    steps = [1] * len(begins) if strides is None else ints(strides)
    if not len(begins) == len(ends) == len(named) == len(steps):
        raise ValueError(f"begin, end, axes and strides are {begins}, {ends}, {named}, {steps}")
    places = [slice(None)] * x.dim()
    for index, (axis, first, last, step) in enumerate(zip(named, begins, ends, steps, strict=True)):
        opened = (None if begin_mask >> index & 1 else first, None if end_mask >> index & 1 else last)
        places[axis] = slice(*opened, step)
    return x[tuple(places)]


def strided_slice(
    x: Tensor, begin: Tensor, end: Tensor, strides: Tensor, *, begin_mask: int = 0, end_mask: int = 0
) -> Tensor:
    return strided_slice_v2(x, begin, end, None, strides, begin_mask=begin_mask, end_mask=end_mask)


def slice_(x: Tensor, offsets: Tensor, size: Tensor) -> Tensor:
    """`size` numbers from `offsets` on, along every axis; -1 is all that follow."""
    for axis, (first, count) in enumerate(zip(ints(offsets), ints(size), strict=True)):
        x = x.narrow(axis, first, x.shape[axis] - first if count == -1 else count)
    return x


def broadcast_to(x: Tensor, shape: Tensor) -> Tensor:
    return x.broadcast_to(ints(shape))


def expand(x: Tensor, shape: Tensor) -> Tensor:
    """x and `shape` broadcast with each other: a size of 1 leaves x as it is there."""
    return x.broadcast_to(torch.broadcast_shapes(x.shape, tuple(ints(shape))))


def tile(x: Tensor, multiples: Tensor) -> Tensor:
    return x.repeat(ints(multiples))


def fill(dims: Tensor, value: Tensor) -> Tensor:
    return value.reshape(()).expand(ints(dims))


def range_(start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    first, last, step = (tensor.item() for tensor in (start, limit, delta))
    count = max(math.ceil((last - first) / step), 0)
    return (torch.arange(count, dtype=start.dtype) * step + first).to(start.dtype)


def zeros_like(x: Tensor) -> Tensor:
    return torch.zeros_like(x)


def ones_like(x: Tensor) -> Tensor:
    return torch.ones_like(x)


def identity(x: Tensor) -> Tensor:
    return x


def tensor_move(x: Tensor) -> Tensor:
    """In memory of its own."""
    return x.clone()


def shape_of(x: Tensor, *, dtype: int = 3) -> Tensor:
    return torch.tensor(x.shape, dtype=numbered(dtype))


def pad_v3(x: Tensor, paddings: Tensor, constant_values: Tensor | None = None) -> Tensor:
    """`paddings` (rank, 2): before and after each axis."""
    pairs = paddings.reshape(-1, 2).flip(0)
    value = 0 if constant_values is None else constant_values.item()
    return torch.nn.functional.pad(x, ints(pairs), value=value)


_NO_OTHER_MASK = {"ellipsis_mask": 0, "new_axis_mask": 0, "shrink_axis_mask": 0}
KERNELS = {
    "Reshape": Kernel(reshape, {"axis": 0, "num_axes": -1}),
    "Unsqueeze": Kernel(unsqueeze),
    "Squeeze": Kernel(squeeze),
    "ExpandDims": Kernel(expand_dims),
    "Transpose": Kernel(transpose),
    "SplitV": Kernel(split_v),
    "Split": Kernel(split),
    "SplitD": Kernel(split_d),
    "ConcatV2": Kernel(concat_v2),
    "ConcatD": Kernel(concat_d),
    "ConcatV2D": Kernel(concat_d),
    "Pack": Kernel(pack),
    "Unpack": Kernel(unpack),
    "StridedSliceV2": Kernel(strided_slice_v2, _NO_OTHER_MASK),
    "StridedSlice": Kernel(strided_slice, _NO_OTHER_MASK),
    "Slice": Kernel(slice_),
    "BroadcastTo": Kernel(broadcast_to),
    "Expand": Kernel(expand),
    "Tile": Kernel(tile),
    "Fill": Kernel(fill),
    "Range": Kernel(range_),
    "ZerosLike": Kernel(zeros_like),
    "OnesLike": Kernel(ones_like),
    "Identity": Kernel(identity),
    "TensorMove": Kernel(tensor_move),
    "Shape": Kernel(shape_of),
    "PadV3": Kernel(pad_v3, {"mode": "constant", "paddings_contiguous": True}),
}

"""By index: what is gathered, and what is written in place, into the memory of the first input."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from porter.graph.call import Kernel, Tensors
from porter.graph.kernels.shapes import ints
from porter.npu.scatter import npu_scatter_nd_update_, scatter_update_


def gather_v2(
    x: Tensor, indices: Tensor, axis: Tensor, *, batch_dims: int = 0, negative_index_support: bool = False
) -> Tensor:
    """Rows of x along axis: x.shape[:axis] + indices.shape + x.shape[axis + 1:]. IndexError for a place that x has not:
    a device does not check."""
    (along,) = ints(axis)
    if batch_dims:
        raise ValueError(f"batch_dims {batch_dims} is not computed here")
    along %= x.dim()
    places = indices.flatten().long()
    if negative_index_support:
        places = torch.where(places < 0, places + x.shape[along], places)
    picked = x.index_select(along, places)
    return picked.reshape((*x.shape[:along], *indices.shape, *x.shape[along + 1 :]))


def gather(x: Tensor, indices: Tensor, *, batch_dims: int = 0, negative_index_support: bool = False) -> Tensor:
    """As GatherV2 along axis 0."""
    along = torch.zeros((), dtype=torch.int64)
    return gather_v2(x, indices, along, batch_dims=batch_dims, negative_index_support=negative_index_support)


def gather_elements(x: Tensor, index: Tensor, *, dim: int = 0) -> Tensor:
    return x.gather(dim, index.long())


def index(x: Tensor, indexed_sizes: Tensor, indexed_strides: Tensor, indices: Tensors) -> Tensor:
    """`x[indices]`, element by element, of the axes whose entry in indexed_sizes is 1; `indices` broadcast."""
    return _indexed(x, ints(indexed_sizes), indices)


def index_by_tensor(x: Tensor, indices: Tensors, *, indices_mask: Sequence[int]) -> Tensor:
    """As Index, of the axes whose entry in indices_mask is 1."""
    return _indexed(x, indices_mask, indices)


def _indexed(x: Tensor, axes: Sequence[int], indices: Tensors) -> Tensor:
    if len(indices) != sum(1 for indexed in axes if indexed):
        raise ValueError(f"{len(indices)} tensors of indices for axes {list(axes)}")
    given = iter(indices)
    return torch.ops.aten.index(x, [next(given) if indexed else None for indexed in axes])


def scatter(var: Tensor, indices: Tensor, updates: Tensor, *, reduce: str, axis: int = 0) -> Tensor:
    """Row b of `updates` over row b of `var`, from place indices[b] of `axis` on; gives `var`."""
    if reduce != "update":
        raise ValueError(f"reduce {reduce!r} is not computed here")
    return scatter_update_(var, indices, updates, axis)


def scatter_nd_update(var: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    return npu_scatter_nd_update_(var, indices, updates)


def scatter_elements(data: Tensor, indices: Tensor, updates: Tensor, *, axis: int = 0) -> Tensor:
    """In a tensor of its own."""
    return data.scatter(axis, indices.long(), updates)


def assign(ref: Tensor, value: Tensor) -> Tensor:
    if ref.shape != value.shape or ref.dtype != value.dtype:
        raise ValueError(f"{tuple(value.shape)} of {value.dtype} into {tuple(ref.shape)} of {ref.dtype}")
    return ref.copy_(value)


KERNELS = {
    "GatherV2": Kernel(gather_v2, {"is_preprocessed": False}),
    "Gather": Kernel(gather, {"validate_indices": True, "is_preprocessed": False}),
    "GatherElements": Kernel(gather_elements),
    "Index": Kernel(index),
    "IndexByTensor": Kernel(index_by_tensor),
    "Scatter": Kernel(scatter),
    "ScatterNdUpdate": Kernel(scatter_nd_update, {"use_locking": False}),
    "ScatterElements": Kernel(scatter_elements, {"reduction": "none"}),
    "Assign": Kernel(assign, {"validate_shape": True, "use_locking": False}),
}

"""Writes into a cache: scatter_update_ (a run of positions per batch row) and npu_scatter_nd_update_ (rows by
coordinate)."""

import torch

from porter.npu.chip import A2, A3, ASCEND_310P, ASCEND_950, check_chip, current_chip
from porter.npu.contract import (
    INDEX,
    ContractError,
    check_dtype,
    check_not_empty,
    check_rank,
    check_same_dtype,
    same_sizes,
    shape,
    violated,
)
from porter.npu.once import once_a_signature
from porter.npu.registry import Op

_UPDATE_DTYPES = (torch.int8, torch.float16, torch.float32, torch.bfloat16, torch.int32)
_ND_DTYPES = (torch.float32, torch.float16, torch.bool, torch.bfloat16, torch.int64, torch.int8)
_ND_DTYPES_310P = (torch.float32, torch.float16, torch.bool)


def scatter_update_(input: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor, axis: int) -> torch.Tensor:
    """Writes `updates[i]` into row i of input along axis, from position `indices[i]` on; returns input, changed.

    input: 2 to 8 dimensions, first the batch; int8, int32, float16, bfloat16 or float32; may be a view. updates: its
    dtype and shape, but for fewer or as many rows, and any length along axis. indices: int32 or int64, (rows,), or
    (rows, 2) with (batch row, position). axis is not the batch's. The device checks no bounds and writes wherever an
    index points; **on the CPU an index out of range is an error**, negative ones too. Raises ContractError for that and
    for what the torch_npu op documentation forbids; 310P has no such op.
    """
    _check_update("scatter_update_", input, indices, updates, axis)
    return _write_runs("scatter_update_", input, indices, updates, axis % input.dim())


def scatter_update(input: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor, axis: int) -> torch.Tensor:
    """As scatter_update_, into a copy of input, which stays as it is."""
    _check_update("scatter_update", input, indices, updates, axis)
    return _write_runs("scatter_update", _copy(input), indices, updates, axis % input.dim())


def npu_scatter_nd_update_(input: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor) -> torch.Tensor:
    """`input[indices[i]] = updates[i]`, indices[i] the leading coordinates of a slice; returns input, changed.

    input: 1 to 8 dimensions, float16, bfloat16, float32, bool, int8 or int64 (310P: float16, float32, bool); may be a
    view. indices: int32 or int64, at least 2 dimensions, the last of a size a <= input.dim(). updates: input's dtype,
    shape `indices.shape[:-1] + input.shape[a:]`. Which one of two updates of the same place wins is not defined.
    Raises ContractError for what the torch_npu op documentation forbids, and for an index out of range, which the
    device does not notice.
    """
    _check_nd("npu_scatter_nd_update_", input, indices, updates)
    return _write_slices("npu_scatter_nd_update_", input, indices, updates)


def npu_scatter_nd_update(input: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor) -> torch.Tensor:
    """As npu_scatter_nd_update_, into a copy of input, which stays as it is."""
    _check_nd("npu_scatter_nd_update", input, indices, updates)
    return _write_slices("npu_scatter_nd_update", _copy(input), indices, updates)


def _copy(input: torch.Tensor) -> torch.Tensor:
    return input.clone(memory_format=torch.contiguous_format)


def _write_runs(op: str, cache: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor, axis: int) -> torch.Tensor:
    if not cache.is_cpu:
        return write_runs_at_once(cache, indices, updates, axis)
    length = updates.shape[axis]
    if indices.dim() == 1:
        starts = indices.tolist()
        first, rows_written = starts[0], len(starts)
        if 0 <= first <= cache.shape[axis] - length and starts.count(first) == rows_written:
            written = cache if rows_written == cache.shape[0] else cache[:rows_written]
            written.narrow(axis, first, length).copy_(updates)
            return cache
    rows = list(range(len(updates))) if indices.dim() == 1 else indices[:, 0].tolist()
    starts = (indices if indices.dim() == 1 else indices[:, 1]).tolist()
    if min(starts) < 0 or max(starts) + length > cache.shape[axis]:
        limit = f"must leave room for {length} positions in {cache.shape[axis]} (not checked on the device)"
        raise ContractError(op, "indices", limit, starts)
    if min(rows) < 0 or max(rows) >= len(cache):
        raise ContractError(op, "indices", f"must name batch rows under {len(cache)} (not checked on the device)", rows)
    for row, start, update in zip(rows, starts, updates, strict=True):
        cache[row].narrow(axis - 1, start, length).copy_(update)
    return cache


def write_runs_at_once(cache: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor, axis: int) -> torch.Tensor:
    """All runs by one indexed write, in place. No index is read on the host, so none is checked here: a negative one
    counts from the end."""
    rows, positions = run_places(indices, updates.shape[0], updates.shape[axis])
    cache.movedim(axis, 1).index_put_((rows, positions), updates.movedim(axis, 1))
    return cache


def run_places(indices: torch.Tensor, count: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Batch rows (rows, 1) and positions (rows, length), int64, that `count` runs of `length` positions fill."""
    device = indices.device
    rows, starts = (torch.arange(count, device=device), indices) if indices.dim() == 1 else indices.long().unbind(1)
    return rows[:, None], starts.long()[:, None] + torch.arange(length, device=device)


def _write_slices(op: str, cache: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor) -> torch.Tensor:
    if cache.is_cpu:
        sizes = torch.tensor(cache.shape[: indices.shape[-1]])
        outside = ((indices < 0) | (indices >= sizes)).any(-1)
        if outside.any():
            limit = f"must be inside {shape(cache)} (not checked on the device)"
            raise ContractError(op, "indices", limit, indices[outside][0].tolist())
    return cache.index_put_(indices.long().unbind(-1), updates)


@once_a_signature
def _check_update(op: str, input: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor, axis: int) -> None:
    check_chip(op, (A2, A3, ASCEND_950))
    check_rank(op, "input", input, 2, 8)
    check_dtype(op, "input", input, _UPDATE_DTYPES)
    check_dtype(op, "indices", indices, INDEX)
    check_rank(op, "indices", indices, 1, 2)
    check_same_dtype(op, "updates", updates, "input", input.dtype)
    check_rank(op, "updates", updates, input.dim(), input.dim())
    for name, tensor in (("input", input), ("indices", indices), ("updates", updates)):
        check_not_empty(op, name, tensor)
    if not -input.dim() <= axis < input.dim() or axis % input.dim() == 0:
        raise ContractError(op, "axis", f"must be a dimension of input {shape(input)} other than the batch, 0", axis)
    axis %= input.dim()
    if indices.dim() == 2 and violated(indices.shape[1] == 2):
        raise ContractError(op, "indices", "must be (rows,) or (rows, 2)", shape(indices))
    if violated(indices.shape[0] == updates.shape[0]):
        raise ContractError(op, "indices", f"must have a row for each of updates {shape(updates)}", shape(indices))
    fits = [
        not violated(new <= old if dim in (0, axis) else new == old)
        for dim, (new, old) in enumerate(zip(updates.shape, input.shape, strict=True))
    ]
    if not all(fits):
        limit = f"must have the shape of input {shape(input)}, shorter along 0 and {axis} at most"
        raise ContractError(op, "updates", limit, shape(updates))


@once_a_signature
def _check_nd(op: str, input: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor) -> None:
    check_rank(op, "input", input, 1, 8)
    check_dtype(op, "input", input, _ND_DTYPES_310P if current_chip() == ASCEND_310P else _ND_DTYPES)
    check_dtype(op, "indices", indices, INDEX)
    check_rank(op, "indices", indices, 2, 8)
    check_same_dtype(op, "updates", updates, "input", input.dtype)
    depth = indices.shape[-1]
    if violated(depth <= input.dim()):
        raise ContractError(op, "indices", f"must end in a size up to {input.dim()}, the rank of input", shape(indices))
    wanted = [*indices.shape[:-1], *input.shape[int(depth) :]]
    if not same_sizes(updates.shape, wanted):
        raise ContractError(op, "updates", f"must be indices.shape[:-1] + input.shape[{depth}:]", shape(updates))


def _fake_scatter_update_(input: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor, axis: int) -> torch.Tensor:
    _check_update("scatter_update_", input, indices, updates, axis)
    return input


def _fake_scatter_update(input: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor, axis: int) -> torch.Tensor:
    _check_update("scatter_update", input, indices, updates, axis)
    return input.new_empty(input.shape)


def _fake_scatter_nd_update_(input: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor) -> torch.Tensor:
    _check_nd("npu_scatter_nd_update_", input, indices, updates)
    return input


def _fake_scatter_nd_update(input: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor) -> torch.Tensor:
    _check_nd("npu_scatter_nd_update", input, indices, updates)
    return input.new_empty(input.shape)


# The pure ops come first: an in-place op becomes its pure one when a graph is made functional.
OPS = (
    Op(
        "scatter_update(Tensor input, Tensor indices, Tensor updates, int axis) -> Tensor",
        scatter_update,
        _fake_scatter_update,
    ),
    Op(
        "scatter_update_(Tensor(a!) input, Tensor indices, Tensor updates, int axis) -> Tensor(a!)",
        scatter_update_,
        _fake_scatter_update_,
        pure="scatter_update",
    ),
    Op(
        "npu_scatter_nd_update(Tensor input, Tensor indices, Tensor updates) -> Tensor",
        npu_scatter_nd_update,
        _fake_scatter_nd_update,
    ),
    Op(
        "npu_scatter_nd_update_(Tensor(a!) input, Tensor indices, Tensor updates) -> Tensor(a!)",
        npu_scatter_nd_update_,
        _fake_scatter_nd_update_,
        pure="npu_scatter_nd_update",
    ),
)

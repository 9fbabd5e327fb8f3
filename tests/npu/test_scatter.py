"""Cache writes against loops: runs of positions, coordinates, views, and indices that point outside."""

import pytest
import torch

from porter.npu import ContractError, torch_npu
from porter.npu.scatter import write_runs_at_once


def written(cache, rows, starts, updates, axis):
    """The semantics, one position at a time."""
    cache = cache.clone()
    for row, start, update in zip(rows, starts, updates, strict=True):
        for offset in range(updates.shape[axis]):
            cache[row].select(axis - 1, start + offset).copy_(update.select(axis - 1, offset))
    return cache


@pytest.mark.parametrize("index", [torch.int32, torch.int64])
@pytest.mark.parametrize(
    ("starts", "length", "axis"), [([3, 3], 1, 1), ([0, 0], 5, 1), ([1, 4], 2, 1), ([2, 0], 3, 2), ([6, 7], 1, -3)]
)
def test_scatter_update_writes_in_place(dtype, index, starts, length, axis):
    cache = torch.randn(2, 8, 6, 4).to(dtype)
    sizes = [2, 8, 6, 4]
    sizes[axis] = length
    updates = torch.randn(sizes).to(dtype)
    wanted = written(cache, [0, 1], starts, updates, axis % 4)
    before = cache.clone()
    pure = torch_npu.scatter_update(cache, torch.tensor(starts, dtype=index), updates, axis)
    assert torch.equal(pure, wanted) and torch.equal(cache, before)
    out = torch_npu.scatter_update_(cache, torch.tensor(starts, dtype=index), updates, axis)
    assert out is cache or out.data_ptr() == cache.data_ptr()
    assert torch.equal(cache, wanted)
    at_once = write_runs_at_once(before, torch.tensor(starts, dtype=index), updates, axis % 4)
    assert at_once is before and torch.equal(before, wanted)


def test_scatter_update_takes_fewer_rows_than_the_cache():
    cache, updates = torch.zeros(3, 8, 4), torch.randn(2, 1, 4)
    torch_npu.scatter_update_(cache, torch.tensor([5, 5]), updates, 1)
    assert torch.equal(cache, written(torch.zeros(3, 8, 4), [0, 1], [5, 5], updates, 1))


def test_scatter_update_by_row_and_position():
    cache, updates = torch.zeros(3, 8, 4), torch.randn(2, 2, 4)
    torch_npu.scatter_update_(cache, torch.tensor([[2, 1], [0, 6]]), updates, -2)
    assert torch.equal(cache, written(torch.zeros(3, 8, 4), [2, 0], [1, 6], updates, 1))


def test_scatter_update_writes_through_a_view():
    whole = torch.zeros(2, 2, 8, 4)
    torch_npu.scatter_update_(whole[1].transpose(0, 0), torch.tensor([1, 2]), torch.ones(2, 1, 4), 1)
    assert whole[0].sum() == 0 and whole[1, 0, 1].sum() == 4 and whole[1, 1, 2].sum() == 4 and whole.sum() == 8


@pytest.mark.parametrize("index", [torch.int32, torch.int64])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_scatter_nd_update(dtype, index, depth):
    cache = torch.randn(4, 5, 6).to(dtype)
    places = [(3, 1, 2), (0, 4, 5), (3, 0, 0)][: 2 if depth == 1 else 3]
    indices = torch.tensor([place[:depth] for place in places], dtype=index)
    updates = torch.randn(len(places), *cache.shape[depth:]).to(dtype)
    wanted = cache.clone()
    for place, update in zip(places, updates, strict=True):
        wanted[place[:depth]] = update
    before = cache.clone()
    assert torch.equal(torch_npu.npu_scatter_nd_update(cache, indices, updates), wanted)
    assert torch.equal(cache, before)
    assert torch_npu.npu_scatter_nd_update_(cache, indices, updates).data_ptr() == cache.data_ptr()
    assert torch.equal(cache, wanted)


def test_scatter_nd_update_of_flags_with_more_index_dimensions():
    flags = torch.zeros(4, 5, dtype=torch.bool)
    indices = torch.tensor([[[0, 1], [3, 4]]])
    torch_npu.npu_scatter_nd_update_(flags, indices, torch.ones(1, 2, dtype=torch.bool))
    assert flags.sum() == 2 and flags[0, 1] and flags[3, 4]


@pytest.mark.parametrize("starts", [[7, 7], [0, 7], [-1, 0], [8, 8]])
def test_scatter_update_refuses_what_the_device_would_write_outside(starts):
    cache = torch.zeros(2, 8, 4)
    with pytest.raises(ContractError, match="indices must leave room for 2 positions in 8"):
        torch_npu.scatter_update_(cache, torch.tensor(starts), torch.ones(2, 2, 4), 1)
    assert cache.sum() == 0


def test_scatter_update_refuses_rows_outside():
    with pytest.raises(ContractError, match=r"indices must name batch rows under 3 .* got \[0, 3\]"):
        torch_npu.scatter_update_(torch.zeros(3, 8, 4), torch.tensor([[0, 0], [3, 0]]), torch.ones(2, 1, 4), 1)


@pytest.mark.parametrize("place", [[0, 5], [4, 0], [-1, 0]])
def test_scatter_nd_update_refuses_places_outside(place):
    with pytest.raises(ContractError, match=r"indices must be inside \(4, 5\)"):
        torch_npu.npu_scatter_nd_update_(torch.zeros(4, 5), torch.tensor([place]), torch.ones(1))

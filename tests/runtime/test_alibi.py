"""The shift of ALiBi: by how far a key lies before its query, over a cache, with padding, in the states' dtype."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig

from porter.runtime import StaticKVCache, alibi_shift

SLOPES = torch.tensor([0.5, 0.25, 0.0625])
CONFIG = LlamaConfig(num_attention_heads=3, num_key_value_heads=3, hidden_size=48, num_hidden_layers=1)


def states(batch, length, dtype=torch.float32):
    return torch.zeros(batch, length, 48, dtype=dtype)


def filled(batch, length, slots=8):
    """A cache of `slots` slots that holds `length` tokens."""
    cache = StaticKVCache(CONFIG, max_cache_len=slots)
    cache.update(torch.zeros(batch, length, 3, 16), torch.zeros(batch, length, 3, 16), 0)
    return cache


def by_hand(places, queries):
    """(B, N, Q, KV) from the number of each token in its row, those of the queries last."""
    rows = [[[[-slope * (q - k) for k in row] for q in row[-queries:]] for slope in SLOPES.tolist()] for row in places]
    return torch.tensor(rows)


def test_without_cache_and_mask_each_query_counts_back():
    found = alibi_shift(SLOPES, states(2, 4), None, None)
    assert found.shape == (1, 3, 4, 4) and found.is_contiguous()
    assert torch.equal(found.tril(), by_hand([[0, 1, 2, 3]], 4).tril())
    assert (found.triu(1) == 0).all()  # behind the query: the mask leaves it out


@pytest.mark.parametrize("queries", [1, 3])
def test_behind_a_cache_it_counts_from_where_the_step_is(queries):
    found = alibi_shift(SLOPES, states(2, queries), None, filled(2, 4))
    assert found.shape[1:] == (3, queries, 8)
    wanted = by_hand([list(range(4 + queries))], queries)
    seen = torch.ones(queries, 4 + queries).tril(4).bool()
    assert torch.equal(found[0, :, :, : 4 + queries][:, seen], wanted[0][:, seen])


@pytest.mark.parametrize(
    ("padding", "numbers"),
    [
        ([0, 0, 1, 1, 1], [0, 0, 1, 2, 3]),
        ([1, 1, 0, 1, 1], [1, 2, 2, 3, 4]),
        ([1, 1, 1, 1, 1], [1, 2, 3, 4, 5]),
    ],
    ids=["on the left", "within", "none"],
)
def test_tokens_are_counted_not_slots_where_a_mask_says_which_are_none(padding, numbers):
    mask = torch.tensor([padding, [1] * 5])
    found = alibi_shift(SLOPES, states(2, 5), mask, None).expand(2, -1, -1, -1)
    real = torch.tensor(padding).bool()
    pairs = (real[:, None] & real[None]).tril()
    assert torch.equal(found[0][:, pairs], by_hand([numbers], 5)[0][:, pairs])
    assert torch.equal(found[1].tril(), by_hand([[0, 1, 2, 3, 4]], 5)[0].tril())


def test_a_shorter_mask_than_the_cache_is_a_step_whose_rest_is_not_there_yet():
    mask = torch.tensor([[0, 1, 1, 1, 1]])
    found = alibi_shift(SLOPES, states(1, 1), mask, filled(1, 4))
    assert torch.equal(found[0, :, 0, 1:5], by_hand([[1, 2, 3, 4]], 1)[0, :, 0])


def test_in_16_bits_near_keys_are_exact_however_long_the_sequence_is():
    found = alibi_shift(SLOPES, states(1, 1, torch.bfloat16), None, filled(1, 4000, 4096))
    assert found.dtype is torch.bfloat16
    assert torch.equal(found[0, :, 0, 3990:4001].float(), by_hand([list(range(11))], 1)[0, :, 0])


def test_another_mask_and_more_tokens_than_there_is_a_shift_for_are_errors():
    with pytest.raises(ValueError, match="attention_mask"):
        alibi_shift(SLOPES, states(1, 4), torch.ones(1, 1, 4, 4), None)
    with pytest.raises(ValueError, match="5 tokens are more than the 4"):
        alibi_shift(SLOPES, states(1, 1), None, filled(1, 4), longest=4)
    alibi_shift(SLOPES, states(1, 1), None, filled(1, 3), longest=4)

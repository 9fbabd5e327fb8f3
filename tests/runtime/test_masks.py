"""NPU masks against transformers' own, turned over, on every row that has something to see."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.overrides import BaseTorchFunctionMode
from transformers import DynamicCache, MistralConfig, StaticCache
from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask

from porter.runtime import StaticKVCache, npu_causal_mask, npu_sliding_window_causal_mask
from tests.runtime.toy_port import tiny_config

HEADS, DIM = 2, 8


def embeds(batch, queries):
    return torch.zeros(batch, queries, 4)


def config_with(window=None):
    config = tiny_config(MistralConfig, sliding_window=window)
    config._attn_implementation = "sdpa"
    return config


def filled(kind, config, batch, past, slots):
    """A cache of `slots` slots after `past` tokens: ours BSND, transformers' BNSD."""
    if kind is StaticKVCache:
        cache, states = StaticKVCache(config, slots), torch.zeros(batch, past, HEADS, DIM)
    else:
        full = tiny_config()  # all positions kept, as here, whatever the window
        cache = DynamicCache(config=full) if slots is None else StaticCache(full, max_cache_len=slots)
        states = torch.zeros(batch, HEADS, past, DIM)
    for layer in range(config.num_hidden_layers if past else 0):
        cache.update(states, states, layer)
    return cache


def padding(batch, length, side, amounts):
    mask = torch.ones(batch, length, dtype=torch.long)
    for row in range(batch):
        amount = amounts[row % len(amounts)] % length  # at least one token is real
        if side == "left":
            mask[row, :amount] = 0
        elif amount:
            mask[row, length - amount :] = 0
    return mask


def theirs(window, config, batch, queries, mask, cache, position_ids=None):
    """True = keep, (B, 1, Q, KV)."""
    make = create_causal_mask if window is None else create_sliding_window_causal_mask
    keep = make(config, embeds(batch, queries), mask, cache, position_ids, allow_is_causal_skip=False)
    return keep.expand(batch, -1, -1, -1)


def ours(window, config, batch, queries, mask, cache, position_ids=None):
    make = npu_causal_mask if window is None else npu_sliding_window_causal_mask
    made = make(config, embeds(batch, queries), mask, cache, position_ids)
    assert made.window == window
    masked = made.masked
    if masked is None:  # the kernel is given the length instead: it sees what is written, and nothing else
        assert queries == 1 and cache is not None and (mask is None or mask.all())
        slots, written = cache.get_mask_sizes(queries, 0)[0], cache.get_seq_length() + 1
        return (torch.arange(slots) >= written).expand(batch, 1, 1, -1)
    assert masked.dtype == torch.bool and masked.is_contiguous()
    assert masked.shape[0] in (1, batch) and (queries > 1 or masked.shape[0] == batch)
    return masked.expand(batch, -1, -1, -1)


def check(keep, masked, past=0):
    """Every row is the inverse of theirs, and sees its own position: a real token does anyway, padding has to."""
    length = keep.shape[-1]
    assert masked[..., length:].all()  # slots the growing cache does not have yet
    own = torch.arange(masked.shape[-2])[:, None] + past == torch.arange(length)
    assert torch.equal(masked[..., :length], ~(keep | own))
    assert not masked.all(-1).any()


@settings(max_examples=120, deadline=None)
@given(
    batch=st.integers(1, 3),
    past=st.integers(0, 6),
    queries=st.integers(1, 6),
    spare=st.integers(0, 5),
    window=st.sampled_from([None, 1, 2, 3, 5, 64]),
    side=st.sampled_from(["none", "left", "right"]),
    amounts=st.lists(st.integers(0, 11), min_size=1, max_size=3),
    full_length=st.booleans(),
)
def test_with_a_cache_masks_are_those_of_the_static_cache(
    batch, past, queries, spare, window, side, amounts, full_length
):
    config, slots = config_with(window), past + queries + spare
    mask = None if side == "none" else padding(batch, past + queries, side, amounts)
    if mask is not None and full_length:  # as a runner passes it: one length for the whole run
        mask = torch.nn.functional.pad(mask, (0, spare), value=1)
    keep = theirs(window, config, batch, queries, mask, filled(StaticCache, config, batch, past, slots))
    masked = ours(window, config, batch, queries, mask, filled(StaticKVCache, config, batch, past, slots))
    assert masked.shape == keep.shape
    check(keep, masked, past)


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("past", [0, 5])
@pytest.mark.parametrize("queries", [1, 4])
def test_an_elastic_cache_sees_what_the_growing_cache_sees(window, past, queries):
    config, mask = config_with(window), padding(2, past + queries, "left", [0, 2])
    cache = filled(StaticKVCache, config, 2, past, None)
    masked = ours(window, config, 2, queries, mask, cache)
    assert masked.shape[-1] == 128
    check(theirs(window, config, 2, queries, mask, filled(DynamicCache, config, 2, past, None)), masked, past)


@pytest.mark.parametrize("window", [None, 1, 3, 64])
@pytest.mark.parametrize("side", ["none", "left", "right"])
@pytest.mark.parametrize("queries", [1, 2, 7])
def test_without_a_cache(window, side, queries):
    config = config_with(window)
    mask = None if side == "none" else padding(3, queries, side, [0, 1, 4])
    check(theirs(window, config, 3, queries, mask, None), ours(window, config, 3, queries, mask, None))


PACKED = {
    "one sequence": [[0, 1, 2, 3, 4, 5]],
    "two rows, packed differently": [[0, 1, 0, 1, 2, 3], [0, 1, 2, 3, 4, 0]],
    "one that goes on from elsewhere": [[4, 5, 6, 0, 1, 2]],
    "positions of left padding": [[0, 0, 0, 1, 2, 3], [0, 1, 2, 3, 4, 5]],
}


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("window", [None, 2])
def test_packed_sequences_do_not_see_each_other(name, window):
    positions, config = torch.tensor(PACKED[name]), config_with(window)
    for batch in {2, len(positions)}:
        keep = theirs(window, config, batch, 6, None, None, positions)
        check(keep, ours(window, config, batch, 6, None, None, positions))


@pytest.mark.parametrize("kind", ["cache", "mask"])
def test_positions_mean_nothing_beside_a_cache_or_a_mask(kind):
    config, positions = config_with(), torch.tensor([[0, 1, 0, 1]])
    cache = StaticKVCache(config, 4) if kind == "cache" else None
    mask = torch.ones(1, 4) if kind == "mask" else None
    assert torch.equal(ours(None, config, 1, 4, mask, cache, positions), ours(None, config, 1, 4, mask, cache))


def test_a_4d_mask_is_taken_as_it_is_and_turned():
    config = config_with()
    keep = torch.rand(2, 1, 3, 5, generator=torch.Generator().manual_seed(0)) > 0.4
    keep[0, 0, 1] = False  # sees nothing
    for given_mask in (keep, torch.zeros(keep.shape).masked_fill(~keep, torch.finfo(torch.float32).min)):
        masked = ours(None, config, 2, 3, given_mask, filled(StaticKVCache, config, 2, 2, 7))
        own = torch.arange(3)[:, None] + 2 == torch.arange(keep.shape[-1])
        blind = ~keep.any(-1, keepdim=True)  # only a row with nothing to see gets its own position
        assert torch.equal(masked[..., : keep.shape[-1]], ~(keep | (blind & own)))
        assert masked[..., keep.shape[-1] :].all()


TURNED_DOWN = {
    "a bias that is not a mask": (torch.tensor([[[[0.0, -3.0]]]]).expand(1, 1, 2, 2), ValueError, "no other bias"),
    "a positive bias": (torch.full((1, 1, 2, 2), 0.5), ValueError, "no other bias"),
    "nan": (torch.full((1, 1, 2, 2), torch.nan), ValueError, "no other bias"),
    "integers in 4-D": (torch.ones(1, 1, 2, 2, dtype=torch.long), TypeError, "bool .True = keep. or additive"),
    "a mask per head": (torch.ones(1, 2, 2, 2, dtype=torch.bool), ValueError, "B or 1, 1, Q, KV"),
    "another number of queries": (torch.ones(1, 1, 3, 2, dtype=torch.bool), ValueError, "Q=2"),
    "more keys than slots": (torch.ones(1, 1, 2, 3, dtype=torch.bool), ValueError, "KV <= 2"),
    "another batch": (torch.ones(3, 2), ValueError, "B=1"),
    "three dimensions": (torch.ones(1, 2, 2), ValueError, "attention_mask is"),
    "a mask longer than the tokens": (torch.ones(1, 3), ValueError, "covers the 2 tokens"),
}


@pytest.mark.parametrize("name", TURNED_DOWN)
def test_what_the_kernel_cannot_express_is_an_error(name):
    mask, error, message = TURNED_DOWN[name]
    with pytest.raises(error, match=message):
        npu_causal_mask(config_with(), embeds(1, 2), mask, None)


@pytest.mark.parametrize("hook", ["or_mask_function", "and_mask_function", "block_sequence_ids"])
def test_mask_hooks_are_refused_and_none_is_not_one(hook):
    npu_causal_mask(config_with(), embeds(1, 2), None, None, layer_idx=0, allow_is_causal_skip=False, **{hook: None})
    with pytest.raises(ValueError, match=hook):
        npu_causal_mask(config_with(), embeds(1, 2), None, None, **{hook: torch.zeros(1, 2)})


def test_bidirectional_attention_is_refused():
    config = config_with()
    config.is_causal = False
    with pytest.raises(ValueError, match="is_causal is False"):
        npu_causal_mask(config, embeds(1, 2), None, None)


def test_a_window_must_be_set():
    with pytest.raises(ValueError, match="sliding_window is not set"):
        npu_sliding_window_causal_mask(config_with(), embeds(1, 2), None, None)


@pytest.mark.parametrize("rows", [1, 2])
def test_a_mask_of_ones_in_the_host_s_memory_is_none(rows):
    config, cache = config_with(), StaticKVCache(config_with(), max_cache_len=8)
    states = torch.zeros(2, 5, HEADS, DIM)
    for layer in range(config.num_hidden_layers):
        cache.update(states, states, layer)
    ones = torch.ones(rows, 6, dtype=torch.int64)
    assert npu_causal_mask(config, embeds(2, 1), ones, cache) == (None, None)
    with BaseTorchFunctionMode():  # somebody looks on: what they see is what a device gets
        assert npu_causal_mask(config, embeds(2, 1), ones, cache).masked.shape == (2, 1, 1, 8)
    ones[0, 0] = 0
    assert npu_causal_mask(config, embeds(2, 1), ones, cache).masked[0, 0, 0, 0]

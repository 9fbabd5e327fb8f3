"""StaticKVCache: what each call of the transformers Cache interface does to BSND states written in place."""

import copy

import pytest
import torch
from transformers import DynamicCache, Qwen3NextConfig
from transformers.cache_utils import Cache

from porter.runtime import CacheFull, StaticKVCache, actual_seq_lengths, prepare_kv_cache
from tests.runtime.toy_port import tiny_config

LAYERS, BATCH, HEADS, DIM = 3, 2, 2, 8


def states(steps, batch=BATCH, heads=HEADS, seed=0, dtype=torch.float32):
    return torch.randn(batch, steps, heads, DIM, generator=torch.Generator().manual_seed(seed)).to(dtype)


def step(cache, keys, values=None, layers=range(LAYERS)):
    values = -keys if values is None else values
    return [cache.update(keys + layer, values - layer, layer) for layer in layers]


def written(cache, layer=0):
    return cache.layers[layer].keys[:, : cache.get_seq_length()]


@pytest.fixture
def cache():
    return StaticKVCache(tiny_config(), max_cache_len=12)


def test_update_returns_all_slots_with_the_states_at_the_cursor(cache):
    first, second = states(5), states(2, seed=1)
    step(cache, first)
    out = step(cache, second)
    for layer, (keys, values) in enumerate(out):
        assert keys.shape == values.shape == (BATCH, 12, HEADS, DIM)
        assert torch.equal(keys[:, :7], torch.cat([first, second], dim=1) + layer)
        assert torch.equal(values[:, :7], -torch.cat([first, second], dim=1) - layer)
        assert not keys[:, 7:].any()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2)], ids=str)
def test_all_layers_of_a_step_write_at_the_same_positions_in_whatever_order(cache, order):
    addresses = None
    for steps in (4, 1, 1):
        before = cache.get_seq_length(order[0])
        for number, layer in enumerate(order):
            assert [cache.get_seq_length(other) for other in order[number:]] == [before] * len(order[number:])
            cache.update(states(steps), states(steps), layer)
            assert cache.get_seq_length(layer) == before + steps
            assert actual_seq_lengths(cache, layer) == [before + steps] * BATCH
        cache.cursor.settle()
        assert cache.get_seq_length() == before + steps
        assert cache.cursor.positions.tolist() == [before + steps] * BATCH
        assert addresses in (None, [cache.layers[layer].keys.data_ptr() for layer in order])
        addresses = [cache.layers[layer].keys.data_ptr() for layer in order]


def test_the_last_slot_works_and_one_past_it_changes_nothing(cache):
    step(cache, states(11))
    step(cache, states(1))
    assert cache.get_seq_length() == 12
    before = copy.deepcopy(cache)
    with pytest.raises(CacheFull, match=r"12 slots, 12 of them in use: there is no room for 1 more.*max_cache_len=13"):
        step(cache, states(1, seed=3))
    assert cache.get_seq_length() == 12 and cache.cursor.positions.tolist() == [12, 12]
    for old, new in zip(before.layers, cache.layers, strict=True):
        assert torch.equal(old.keys, new.keys) and torch.equal(old.values, new.values)


def test_a_prompt_longer_than_the_cache_allocates_nothing(cache):
    with pytest.raises(CacheFull) as error:
        step(cache, states(13))
    assert (error.value.slots, error.value.used, error.value.asked) == (12, 0, 13)
    assert cache.nbytes == 0


def test_a_step_that_broke_off_is_written_over(cache):
    step(cache, states(3))
    step(cache, states(1, seed=1), layers=range(2))
    cache.cursor.abandon()  # as the model does where a layer raises
    assert cache.get_seq_length() == 3
    step(cache, states(1, seed=2))
    assert torch.equal(cache.layers[0].keys[:, 3:4], states(1, seed=2))
    assert cache.get_seq_length() == 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("heads", [1, 2, 4])
def test_memory_is_exactly_the_slots_of_this_rank(dtype, heads):
    cache = StaticKVCache(tiny_config(), max_cache_len=37)
    step(cache, states(3, heads=heads, dtype=dtype))
    assert cache.nbytes == LAYERS * 2 * BATCH * 37 * heads * DIM * dtype.itemsize


def test_an_elastic_cache_grows_in_blocks_and_keeps_what_it_holds():
    cache = StaticKVCache(tiny_config())
    everything, sizes = [], []
    for seed, steps in enumerate((5, 1, 122, 1, 300, 1)):
        assert cache.get_mask_sizes(steps, 0) == (cache.cursor.capacity(steps), 0)
        everything.append(states(steps, seed=seed))
        step(cache, everything[-1])
        sizes.append(cache.layers[0].keys.shape[1])
    assert sizes == [128, 128, 128, 256, 512, 512]
    assert torch.equal(written(cache, 2), torch.cat(everything, dim=1) + 2)
    assert (cache.get_max_length(), cache.max_cache_len) == (-1, None)


def test_grow_to_makes_room_in_a_fixed_cache(cache):
    step(cache, states(12))
    cache.grow_to(20)
    step(cache, states(8, seed=1))
    assert cache.max_cache_len == cache.get_max_length() == 20 and cache.get_seq_length() == 20
    with pytest.raises(CacheFull):
        step(cache, states(1))


def test_crop_forgets_the_last_tokens(cache):
    step(cache, states(6))
    cache.crop(0)
    assert cache.get_seq_length() == 6
    cache.crop(-2)
    step(cache, states(1, seed=4))
    assert torch.equal(written(cache), torch.cat([states(6)[:, :4], states(1, seed=4)], dim=1))
    with pytest.raises(ValueError, match="minus the number of tokens"):
        cache.crop(3)


def test_reset_empties_and_zeroes_in_place(cache):
    step(cache, states(6))
    address = cache.layers[1].values.data_ptr()
    cache.reset()
    assert cache.get_seq_length() == 0 and cache.cursor.positions.tolist() == [0, 0]
    assert cache.layers[1].values.data_ptr() == address and not cache.layers[1].values.any()


def test_beams_reorder_in_place(cache):
    step(cache, states(6))
    address = cache.layers[0].keys.data_ptr()
    cache.reorder_cache(torch.tensor([1, 1]))
    assert torch.equal(written(cache), states(6)[[1, 1]]) and cache.layers[0].keys.data_ptr() == address


def test_batch_rows_repeat_and_select(cache):
    step(cache, states(6))
    cache.batch_repeat_interleave(2)
    assert cache.batch_size == 4 and torch.equal(written(cache), states(6)[[0, 0, 1, 1]])
    cache.batch_select_indices(torch.tensor([False, False, True, False]))
    assert cache.batch_size == 1 and torch.equal(written(cache, 1), states(6)[[1]] + 1)
    step(cache, states(1, batch=1))
    assert actual_seq_lengths(cache, 0) == [7]


def test_set_length_rewinds_both_sides(cache):
    step(cache, states(6))
    cache.set_length(2)
    assert cache.get_seq_length() == 2 and cache.cursor.positions.tolist() == [2, 2]
    for outside in (-1, 13):
        with pytest.raises(ValueError, match="12 slots"):
            cache.set_length(outside)


def test_reserve_counts_without_the_device_and_refuses_what_does_not_fit(cache):
    step(cache, states(10))
    assert [cache.reserve(1), cache.reserve(1)] == [10, 11]
    with pytest.raises(CacheFull, match="12 of them in use"):
        cache.reserve(1)
    assert cache.get_seq_length() == 10  # the steps never ran: asked in eager, the device knows
    step(cache, states(2))
    assert cache.get_seq_length() == 12


def test_states_of_another_shape_are_refused(cache):
    step(cache, states(6))
    for wrong in (states(1, batch=3), states(1, heads=4), states(1).transpose(1, 2)):
        with pytest.raises(ValueError, match=r"holds \(B, S, N, D\) states with B=2, N=2, D=8"):
            cache.update(wrong, wrong, 0)


def test_gradients_do_not_reach_the_cache(cache):
    step(cache, states(3).requires_grad_())
    assert not cache.layers[0].keys.requires_grad


def test_what_generate_asks_a_cache(cache):
    assert isinstance(cache, Cache) and len(cache) == LAYERS
    assert not cache.is_compileable and cache.is_croppable and not cache.is_initialized
    assert cache.is_sliding == cache.is_linear == cache.is_dummy == [False] * LAYERS
    assert cache.get_seq_length() == 0 and cache.batch_size == -1
    cache.early_initialization(4, HEADS, DIM, torch.bfloat16, "cpu")
    assert cache.is_initialized and cache.batch_size == 4 and cache.get_seq_length() == 0
    assert cache.layers[2].keys.dtype == torch.bfloat16


def test_layers_without_attention_hold_nothing():
    config = tiny_config(num_hidden_layers=3)
    config.layer_types = ["moe", "full_attention", "mlp"]
    cache = StaticKVCache(config, max_cache_len=4)
    assert cache.is_dummy == [True, False, True] and cache.get_mask_sizes(2, 0) == (4, 0)
    step(cache, states(2), layers=[1])
    assert cache.get_seq_length() == 2


def test_a_layer_with_another_kind_of_state_is_refused():
    with pytest.raises(ValueError, match="this model has linear_attention layers"):
        StaticKVCache(Qwen3NextConfig(num_hidden_layers=4))


def test_an_impossible_size_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        StaticKVCache(tiny_config(), max_cache_len=0)


def test_a_layer_called_without_its_model_goes_on_from_its_own_last_step(cache):
    for seed, steps in enumerate((4, 1, 2)):
        cache.update(states(steps, seed=seed), states(steps, seed=seed), 1)
    expected = torch.cat([states(steps, seed=seed) for seed, steps in enumerate((4, 1, 2))], dim=1)
    assert cache.get_seq_length(1) == 7 and torch.equal(cache.layers[1].keys[:, :7], expected)


def test_a_layer_that_lacks_tokens_is_refused(cache):
    step(cache, states(4), layers=[0, 1])
    step(cache, states(1), layers=[0, 1])
    with pytest.raises(ValueError, match="layer 2 holds 0 of the 4 tokens"):
        cache.update(states(1), states(1), 2)


def test_a_place_is_written_once_in_a_model_s_step(cache):
    prepare_kv_cache(tiny_config(), cache, True)
    step(cache, states(4), layers=[0, 1])
    with pytest.raises(ValueError, match="two layers write to place 1"):
        cache.update(states(4), states(4), 1)
    with pytest.raises(ValueError, match="layer_idx 3 writes to a KV cache of 3 layers"):
        cache.update(states(4), states(4), 3)


def test_prepare_kv_cache_makes_passes_or_refuses(cache):
    config = tiny_config()
    assert prepare_kv_cache(config, None, False) is None
    assert prepare_kv_cache(config, None, True).max_cache_len is None
    assert prepare_kv_cache(config, cache, None) is cache
    with pytest.raises(TypeError, match=r"DynamicCache.*\(B, S, N, D\).*StaticKVCache\(config, max_cache_len"):
        prepare_kv_cache(config, DynamicCache(), True)
    with pytest.raises(ValueError, match="gives no weights out"):
        prepare_kv_cache(config, cache, True, output_attentions=True)
    config._output_attentions = True
    with pytest.raises(ValueError, match="gives no weights out"):
        prepare_kv_cache(config, cache, True)
    assert prepare_kv_cache(config, cache, True, output_attentions=False) is cache


def test_without_a_cache_there_are_no_lengths():
    assert actual_seq_lengths(None, 0) is None


def test_no_slot_is_ever_uninitialised_memory(monkeypatch):
    empty = torch.Tensor.new_empty
    monkeypatch.setattr(torch.Tensor, "new_empty", lambda like, sizes: empty(like, sizes).fill_(float("nan")))
    elastic, late = StaticKVCache(tiny_config()), StaticKVCache(tiny_config(), max_cache_len=12)
    step(elastic, states(5))
    step(elastic, states(200))  # grows
    elastic.grow_to(500)
    late.update(states(4), states(4), LAYERS - 1)
    late.cursor.move(4)  # moves the cursor before the others have memory
    step(late, states(2), layers=range(LAYERS - 1))
    early = StaticKVCache(tiny_config(), max_cache_len=12)
    early.early_initialization(BATCH, HEADS, DIM, torch.float32, "cpu")
    for cache in (elastic, late, early):
        for layer in cache.layers:
            assert layer.keys.isfinite().all() and layer.values.isfinite().all()


def test_on_a_cpu_each_head_s_positions_lie_together(cache):
    step(cache, states(5))
    elastic = StaticKVCache(tiny_config())
    step(elastic, states(5))
    elastic.grow_to(300)
    for layer in (*cache.layers, *elastic.layers):
        assert layer.keys.transpose(1, 2).is_contiguous() and layer.values.transpose(1, 2).is_contiguous()


@pytest.mark.parametrize("which", ["keys", "values"])
def test_no_gradient_gets_into_the_cache(cache, which):
    recorded, plain = states(3).requires_grad_(), states(3)
    cache.update(*((recorded, plain) if which == "keys" else (plain, recorded)), 0)
    assert not cache.layers[0].keys.requires_grad and not cache.layers[0].values.requires_grad

"""A cache that a port cannot write is refused at the call, whatever it is called and whichever door it comes by."""

import threading

import pytest
import torch
from transformers import DynamicCache, EncoderDecoderCache, GenerationConfig, StaticCache
from transformers.generation.continuous_batching import PagedAttentionCache

from porter.runtime import StaticKVCache
from tests.runtime.shipped import IDS, greedy, source_and_port


@pytest.fixture(scope="module")
def port():
    return source_and_port()[1]


def paged():
    return object.__new__(PagedAttentionCache)


CACHES = {
    "DynamicCache": lambda config: DynamicCache(config=config),
    "StaticCache": lambda config: StaticCache(config, max_cache_len=20),
    "EncoderDecoderCache": lambda config: EncoderDecoderCache(DynamicCache(), DynamicCache()),
    "tuples": lambda config: ((torch.zeros(2, 2, 3, 8), torch.zeros(2, 2, 3, 8)),) * 4,
    "PagedAttentionCache": lambda config: paged(),
    "a port's own": lambda config: StaticKVCache(config),
}
NAMES = ["cache", "past_key_value", "past_key_values", "layer_past", "past", "cache_params", "kv_cache"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", CACHES)
def test_model_and_base_model_refuse_it_under_every_name(port, kind, name):
    if (kind, name) == ("a port's own", "past_key_values"):
        pytest.skip("the one that works")
    for model in (port, port.model):
        with pytest.raises(TypeError, match=rf"{name} is a .*StaticKVCache"):
            model(IDS, **{name: CACHES[kind](port.config)})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("part", ["layer", "attention"])
def test_so_do_a_layer_and_its_attention_called_alone(port, part, name):
    hidden = torch.zeros(2, 3, 32)
    rotary = port.model.rotary_emb(hidden, torch.arange(3)[None])
    layer = port.model.layers[0]
    module = layer if part == "layer" else layer.self_attn
    arguments = {} if part == "layer" else {"attention_mask": None}
    with pytest.raises(TypeError, match=rf"{name} is a DynamicCache.*StaticKVCache"):
        module(hidden_states=hidden, position_embeddings=rotary, **arguments, **{name: DynamicCache()})
    with pytest.raises(ValueError, match="gives no weights out"):
        module(hidden_states=hidden, position_embeddings=rotary, **arguments, output_attentions=True)


def test_a_cache_of_a_name_nobody_knows_is_told_by_its_class(port):
    with pytest.raises(TypeError, match="memory is a DynamicCache"):
        port(IDS, memory=DynamicCache())


def test_flags_and_numbers_with_cache_in_their_name_are_none(port):
    expected = port(IDS).logits
    assert torch.equal(expected, port(IDS, use_cache=True, cache_position=torch.arange(7), past=None).logits)


ASKED = {
    "paged": lambda port: greedy(port, cache_implementation="paged"),
    "generate_batch": lambda port: port.generate_batch(IDS.tolist(), GenerationConfig(max_new_tokens=2)),
    "a manager": lambda port: port.init_continuous_batching(GenerationConfig(max_new_tokens=2)),
    "a context": lambda port: port.continuous_batching_context_manager(GenerationConfig()).__enter__(),
    "quantized": lambda port: greedy(port, cache_implementation="quantized"),
    "offloaded": lambda port: greedy(port, cache_implementation="offloaded"),
    "a cache and none": lambda port: greedy(port, use_cache=False, past_key_values=StaticKVCache(port.config)),
    "paged, by the config": lambda port: greedy(port, generation_config=GenerationConfig(cache_implementation="paged")),
}


@pytest.mark.parametrize("what", ASKED)
def test_generation_on_another_cache_is_refused_before_a_thread_starts(port, what):
    before = threading.active_count()
    with pytest.raises(ValueError, match=r"continuous batching|StaticKVCache only|contradict"):
        ASKED[what](port)
    assert threading.active_count() == before

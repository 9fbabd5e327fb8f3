"""Sizes that layers do not have in common are read off the layers, wherever porter asks a configuration for them."""

import pytest
from transformers import Gemma4TextConfig, LlamaConfig

from porter.lowering.steps import configuration
from porter.parallel import CannotShard, check_divides, kv_heads_of_rank
from porter.parallel.by_layer import each_layer, in_layers
from porter.verify.tiny import tiny_config

UNLIKE = {"layer_types": ["sliding_attention", "full_attention"], "global_head_dim": 64}
FEWER = {**UNLIKE, "attention_k_eq_v": True, "num_global_key_value_heads": 1}


def test_what_layers_have_in_common_is_said_of_each():
    config = tiny_config(LlamaConfig, num_hidden_layers=3)
    assert in_layers(config, "head_dim") == [config.head_dim] * 3 and in_layers(config, "none") == [None] * 3
    assert all(layer is config for layer in each_layer(config))


def test_what_they_have_not_in_common_is_said_of_each_too():
    config = tiny_config(Gemma4TextConfig, **FEWER)
    with pytest.raises(RuntimeError, match="per-layer attribute"):
        getattr(config, "head_dim", None)
    assert in_layers(config, "head_dim") == [16, 64] and in_layers(config, "num_key_value_heads") == [2, 1]
    assert in_layers(config, "hidden_size") == [config.hidden_size] * 2


def test_heads_of_every_layer_must_divide():
    check_divides(tiny_config(Gemma4TextConfig, **UNLIKE), 2)
    assert kv_heads_of_rank(tiny_config(Gemma4TextConfig, **UNLIKE), 2) == 1
    with pytest.raises(CannotShard, match="num_key_value_heads is 1"):
        check_divides(tiny_config(Gemma4TextConfig, **FEWER), 2)
    with pytest.raises(CannotShard, match=r"the layers have \[1, 2\] KV heads"):
        kv_heads_of_rank(tiny_config(Gemma4TextConfig, **FEWER), 1)


def test_what_is_lowered_has_realistic_widths_in_layers_unlike_each_other():
    config = configuration(Gemma4TextConfig, 2)
    assert in_layers(config, "head_dim") == [128, 512] and in_layers(config, "num_key_value_heads") == [2, 2]

"""Attention and its masks: variations of Llama under which a rule would be wrong leave it out."""

from __future__ import annotations

import pytest

from tests.engine.sources import port, rules_of, varied, why
from tests.engine.variations import (
    EMBEDDED,
    INTERFACE,
    LAYER_CALL,
    LOCAL_ATTENTION,
    ROTARY,
    UPDATE,
    before,
    behind,
    case,
)

CASES = [
    case("the kernel cannot cap scores", "attention", behind(INTERFACE, "            softcap=50.0,\n")),
    case("the call says it is not causal", "attention", behind(INTERFACE, "            is_causal=False,\n")),
    case("the query is changed after its transpose", "attention", before(ROTARY, "        query_states *= 2\n")),
    case("the key's shape is read in between", "attention", before(ROTARY, "        n = key_states.shape[-2]\n")),
    case("the heads' dimension is indexed in between", "attention", before(ROTARY, "        query_states[:, 0] = 0\n")),
    case(
        "the rotary function is a local one", "attention", before(ROTARY, "        apply_rotary_pos_emb = self.turn\n")
    ),
    case(
        "the keys are read from the cache again",
        "attention",
        before("        attention_interface: C", "        key_states = past_key_values.layers[0].keys\n"),
    ),
    case(
        "the cache is made together with something else",
        "attention",
        behind("            past_key_values = DynamicCache(config=self.config)\n", "            fresh = True\n"),
    ),
    case("the interface takes a second `**`", "attention", behind(INTERFACE, "            **self.extra,\n")),
    case(
        "the attention adds to its mask",
        "attention",
        before(UPDATE, "        attention_mask = attention_mask & self.local\n"),
    ),
    case(
        "the model adds to its mask", "attention", before(EMBEDDED, "        causal_mask = causal_mask & self.local\n")
    ),
    case(
        "the model reads its mask",
        "attention",
        behind(EMBEDDED, "        hidden_states = hidden_states * causal_mask.float().mean()\n"),
    ),
    case(
        "some layers get a mask of another make",
        "attention",
        (LAYER_CALL, LAYER_CALL.replace("causal_mask", "causal_mask if use_cache else self.local")),
    ),
    case(
        "another mask takes its name", "attention", before(EMBEDDED, "        causal_mask = self.own(attention_mask)\n")
    ),
    case(
        "another mask takes its name in training",
        "attention",
        before(EMBEDDED, "        if self.training:\n            causal_mask = self.own(attention_mask)\n"),
    ),
    case(
        "a helper makes another mask of it",
        "attention",
        before(EMBEDDED, "        causal_mask = self.own(mask=causal_mask)\n"),
    ),
    case("the model keeps its mask", "attention", before(EMBEDDED, "        self.mask = causal_mask\n")),
    case(
        "a layer gets the padding by position",
        "attention",
        (LAYER_CALL, LAYER_CALL.replace("attention_mask=causal_mask", "attention_mask")),
    ),
    case(
        "the layer changes the mask",
        "attention",
        behind(
            "        residual = hidden_states\n        hidden_states = self.input_layernorm(hidden_states)\n",
            "        attention_mask = ~attention_mask\n",
        ),
    ),
    case(
        "an attention of unknown shape gets the same mask",
        "attention",
        before("class LlamaDecoderLayer(", LOCAL_ATTENTION),
        (
            "LlamaAttention(config=config, layer_idx=layer_idx)",
            "LlamaAttention(config=config, layer_idx=layer_idx) if layer_idx else LocalAttention(config, layer_idx)",
        ),
    ),
    case(
        "the rotary function has its dimension built in",
        "attention",
        ("cos, sin, unsqueeze_dim=1)", "cos, sin)"),
        (".unsqueeze(unsqueeze_dim)", ".unsqueeze(1)"),
    ),
    case(
        "the rotary function counts heads", "attention", before("    q_embed = (q * cos)", "    q = q / q.shape[1]\n")
    ),
]


@pytest.mark.parametrize(("rule", "pairs"), CASES)
def test_the_rule_is_left_out(rule, pairs):
    assert rule not in rules_of(port(varied(*pairs)))


def test_these_rules_take_llama_as_it_is():
    assert rules_of(port(varied())) >= {case.values[0] for case in CASES}


CACHE = """        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)

"""


@pytest.mark.parametrize(
    "behind", ["        hidden_states = inputs_embeds\n", "        for decoder_layer in self.layers"]
)
def test_a_cache_that_is_made_when_its_length_was_asked_is_left(behind):
    ported = port(varied((CACHE, ""), (behind, CACHE + behind)))
    assert "attention" not in rules_of(ported)
    assert "`past_key_values` is used before the edit that makes it" in why(ported)

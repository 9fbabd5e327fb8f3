"""Conditions on Llama's module and its configuration: where one does not hold, the site is left with the reason."""

from __future__ import annotations

from dataclasses import replace

import pytest

from porter.convert import convert
from tests.engine.sources import accepted, port, port_of, rules_of, source_of, varied, why


@pytest.mark.parametrize(
    "silu",
    ["            raise ValueError", "npu_swiglu computes silu"],
    ids=["the port refuses a configuration with another activation", "it says what it needs"],
)
def test_a_guard_stays_in_the_port(silu):
    assert silu in port_of("llama").code


def test_a_guard_that_the_configuration_breaks_leaves_the_site_alone():
    configuration = source_of("llama").configuration
    relu = replace(
        configuration, text=configuration.text.replace('hidden_act: str = "silu"', 'hidden_act: str = "relu"')
    )
    assert relu.text != configuration.text
    ported = accepted(convert(replace(source_of("llama"), configuration=relu), name="llama"))
    assert "swiglu" not in rules_of(ported) and "self.act_fn(self.gate_proj(x)) * self.up_proj(x)" in ported.code


UNTOLD = varied(("from .configuration_llama import LlamaConfig", "from nowhere import LlamaConfig"))


def test_a_guard_on_a_value_that_is_not_known_leaves_the_site_alone():
    ported = accepted(convert(replace(source_of("llama"), text=UNTOLD, configuration=None), name="llama"))
    assert "swiglu" not in rules_of(ported)


def test_a_guard_that_fails_is_the_reason_given():
    ported = accepted(convert(replace(source_of("llama"), text=UNTOLD, configuration=None), name="llama"))
    assert "`config.hidden_act` is unknown by default" in why(ported)


def test_interleaved_halves_are_not_taken_for_halves():
    assert "rotary_half" not in rules_of(port_of("blt"))
    assert 'npu_rotary_mul(q, cos, sin, "half", rotate)' in port_of("blt").code


def test_of_two_rules_for_one_need_the_one_for_such_defaults_says_why_not():
    activation = "        self.act_fn = ACT2FN[config.hidden_act]\n"
    said = why(port(varied((activation, activation + "        self.act_fn = nn.SiLU()\n"))))
    assert "LlamaMLP.forward: swiglu: `self.act_fn` is used outside what the rule rewrites" in said


def test_all_of_a_rule_or_nothing():
    """One of two attention classes does not match: the masks keep their polarity, and the cache its layout."""
    second = "class OtherAttention(LlamaAttention):\n    def forward(self, hidden_states, **kwargs):\n"
    second += (
        "        return self.o_proj(torch.softmax(self.k_proj(hidden_states), -1)), None\n\n\nclass LlamaDecoderLayer("
    )
    chosen = "LlamaAttention(config, layer_idx) if layer_idx else OtherAttention(config, layer_idx)"
    ported = port(
        varied(("class LlamaDecoderLayer(", second), ("LlamaAttention(config=config, layer_idx=layer_idx)", chosen))
    )
    assert "attention" not in rules_of(ported)
    for name in (
        "npu_causal_mask",
        "prepare_kv_cache",
        "npu_fused_infer_attention_score",
        "BSND",
        "sin, unsqueeze_dim=2",
    ):
        assert name not in ported.code
    for kept in (
        "create_causal_mask(",
        "DynamicCache(config=self.config)",
        "transpose(1, 2)",
        "eager_attention_forward(",
    ):
        assert kept in ported.code


def test_a_name_the_rule_cannot_carry_over_keeps_it_away():
    absent = (
        "        causal_mask = create_causal_mask(",
        "        create_chunked_causal_mask\n        causal_mask = create_causal_mask(",
    )
    ported = port(varied(absent))
    assert "attention" not in rules_of(ported) and "npu_causal_mask" not in ported.code


def test_a_merge_that_is_refused_says_where_the_part_is_used():
    seen = (
        "        attn_output = self.o_proj(attn_output)\n",
        "        attn_output = self.o_proj(attn_output) + self.q_proj.bias\n",
    )
    ported = port(varied(seen))
    assert "merge_qkv" not in rules_of(ported)
    assert 'RowMerge("qkv"' not in ported.code and 'RowMerge("gate_up"' in ported.code


def test_a_private_value_that_stays_in_use_is_named():
    ported = port(
        varied(
            (
                "        cos, sin = position_embeddings\n",
                "        n = key_states.shape\n        cos, sin = position_embeddings\n",
            )
        )
    )
    assert "attention" not in rules_of(ported)


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        pytest.param(
            (
                "        cos, sin = position_embeddings\n",
                "        n = key_states.shape\n        cos, sin = position_embeddings\n",
            ),
            "`key_states` is used here",
            id="a private value in use",
        ),
        pytest.param(
            (
                "        attn_output = self.o_proj(attn_output)\n",
                "        attn_output = self.o_proj(attn_output) + self.q_proj.bias\n",
            ),
            "`self.q_proj` is used outside",
            id="a merged part in use",
        ),
    ],
)
def test_what_was_refused_at_a_site_is_listed_though_other_rules_take_it(pair, reason):
    assert reason in why(port(varied(pair)))

"""What the parts of a model are for, and whose a part and an activation are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from porter.convert import convert
from tests.engine.sources import accepted, inspected, port, source_of, varied, why

ROLES = {
    "mixtral": {"MixtralTopKRouter": "router", "MixtralExperts": "experts", "MixtralSparseMoeBlock": "moe"},
    "phimoe": {"PhimoeTopKRouter": "router", "PhimoeExperts": "experts"},  # a linear with a forward of its own
    "ernie4_5_moe": {"Ernie4_5_MoeStatics": "bias", "Ernie4_5_MoeTopKRouter": "router"},
    "deepseek_v3": {"DeepseekV3TopkRouter": "router", "DeepseekV3MoE": "moe", "DeepseekV3MLP": "mlp"},
    "bloom": {"BloomGelu": "activation", "BloomAttention": "attention"},
    "mamba": {"MambaMixer": "mixer", "MambaBlock": "layer", "MambaModel": "model"},
    "qwen3_next": {
        "Qwen3NextGatedDeltaNet": "mixer",
        "Qwen3NextTopKRouter": "router",
        "Qwen3NextAttention": "attention",
    },
    "lfm2": {"Lfm2ShortConv": "mixer"},
    "jamba": {"JambaAttentionDecoderLayer": "layer", "JambaMambaDecoderLayer": "layer", "JambaMambaMixer": "mixer"},
    "gemma2": {"Gemma2TextScaledWordEmbedding": "embedding"},
    "bart": {"BartDecoderWrapper": "wrapper", "BartDecoder": "model"},
    "phi4_multimodal": {"Phi4MultimodalVisionAttention": "tower", "Phi4MultimodalAttention": "attention"},
}


@pytest.mark.parametrize("model", ROLES)
def test_parts_have_their_roles(model):
    roles = inspected(model).plan.anatomy.roles
    assert {name: roles.get(name) for name in ROLES[model]} == ROLES[model]


@pytest.mark.parametrize("model", ["llama4", "mamba"])
def test_routers_and_mixers_are_sites_that_are_left_with_a_reason(model):
    sites = [site for site in inspected(model).sites if site.kind in ("router", "mixer", "moe")]
    assert sites and all(site.status == "left" and site.reason for site in sites)


def test_a_part_of_another_class_does_not_keep_a_merge_away():
    """`gate_proj` of an attention is its own; one that reaches into the MLP is not."""
    own = varied(
        (
            "        self.o_proj = nn.Linear(",
            "        self.gate_proj = nn.Linear(1, 1)\n        self.o_proj = nn.Linear(",
        ),
        (
            "        attn_output = self.o_proj(attn_output)",
            "        attn_output = self.o_proj(attn_output) * self.gate_proj.weight",
        ),
    )
    assert "self.gate_up(x)" in port(own).code and "self.gate_proj.weight" in port(own).code
    into = varied(
        (
            "        hidden_states = self.mlp(hidden_states)",
            "        self.mlp.gate_proj(hidden_states)\n        hidden_states = self.mlp(hidden_states)",
        )
    )
    assert "self.gate_up(x)" not in port(into).code and "is used outside" in why(port(into))


QUOTED = ['"silu"', "'silu'", '"""silu"""', "'''silu'''", 'r"silu"', 'u"silu"', '"si" "lu"', "'swish'"]


@pytest.mark.parametrize("literal", QUOTED)
def test_an_activation_is_a_string_however_it_is_quoted(literal):
    assert "self.gate_up(x)" in port(varied(("ACT2FN[config.hidden_act]", f"ACT2FN[{literal}]"))).code


def test_an_activation_that_is_no_silu_is_left():
    ported = accepted(
        convert(replace(source_of("llama"), text=varied(("ACT2FN[config.hidden_act]", "ACT2FN['tanh']"))), name="llama")
    )
    assert "self.gate_up(x)" not in ported.code

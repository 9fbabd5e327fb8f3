"""Sums before a norm: variations of Llama under which a rule would be wrong leave it out."""

from __future__ import annotations

import pytest

from tests.engine.sources import port, rules_of, varied
from tests.engine.variations import (
    FINAL_NORM,
    FIRST_NORM,
    LOOP,
    NEXT_NORM,
    ODD_LAYER,
    ODD_LAYERS,
    PLAIN_LAYER,
    PRETRAINED,
    SUM,
    before,
    behind,
    case,
)

CASES = [
    case("the difference is normed", "add_norm", (SUM, SUM.replace("+", "-"))),
    case("something happens to the sum first", "add_norm", (SUM, SUM + "        hidden_states = hidden_states * 2\n")),
    case(
        "the norm's class overrides the forward",
        "add_norm",
        before(
            "def repeat_kv",
            "class Odd(LlamaRMSNorm):\n    def forward(self, hidden_states):\n"
            "        return super().forward(hidden_states) + 1\n\n\n",
        ),
        (NEXT_NORM, NEXT_NORM.replace("LlamaRMSNorm", "Odd")),
    ),
    case(
        "the layer returns a tuple",
        "add_norm_across",
        (
            "        return hidden_states\n\n\n@auto_docstring\nclass LlamaPre",
            "        return (hidden_states,)\n\n\n@auto_docstring\nclass LlamaPre",
        ),
    ),
    case(
        "the loop holds another statement",
        "add_norm_across",
        (LOOP, LOOP + "            hidden_states = hidden_states + 1\n"),
    ),
    case(
        "the states are changed before the final norm",
        "add_norm_across",
        before(FINAL_NORM + "        return", "        hidden_states = hidden_states * 2\n"),
    ),
    case(
        "the final norm stands in a branch",
        "add_norm_across",
        (FINAL_NORM + "        return", "        if use_cache:\n    " + FINAL_NORM + "        return"),
    ),
    case(
        "another class builds the layer",
        "add_norm_across",
        before(
            "@auto_docstring\nclass LlamaForCausalLM",
            "class Draft(nn.Module):\n    def __init__(self, config):\n"
            "        super().__init__()\n        self.layer = LlamaDecoderLayer(config, 0)\n\n\n",
        ),
    ),
    case("a vector is added, not a branch", "add_norm", (SUM, SUM.replace("residual + h", "self.shift + h"))),
    case(
        "the norm is of another class in one branch",
        "add_norm",
        (
            NEXT_NORM,
            "        if layer_idx:\n            self.post_attention_layernorm = nn.LayerNorm(config.hidden_size)\n"
            "        else:\n    " + NEXT_NORM,
        ),
    ),
    case(
        "a subclass of the layer has another norm",
        "add_norm",
        before(
            PRETRAINED,
            ODD_LAYER.format(
                "__init__(self, config, layer_idx):\n        super().__init__(config, layer_idx)\n"
                "        self.post_attention_layernorm = nn.LayerNorm(4)\n"
            ),
        ),
        ODD_LAYERS,
    ),
    case(
        "the states are changed before the first norm",
        "add_norm_across",
        before(FIRST_NORM, "        hidden_states = hidden_states - 1\n"),
    ),
    case(
        "the layer returns early",
        "add_norm_across",
        before(FIRST_NORM, "        if self.skip:\n            return hidden_states\n"),
    ),
    case(
        "the layer is called once more",
        "add_norm_across",
        behind(FINAL_NORM, "        hidden_states = self.layers[0](hidden_states)\n"),
    ),
    case(
        "the list holds a layer of another kind",
        "add_norm_across",
        before("class LlamaDecoderLayer(", PLAIN_LAYER),
        ODD_LAYERS,
    ),
    case(
        "a subclass of the layer calls its base",
        "add_norm_across",
        before(
            PRETRAINED,
            ODD_LAYER.format(
                "forward(self, hidden_states, **kwargs):\n"
                "        return super().forward(hidden_states, **kwargs) * 0.5\n"
            ),
        ),
        ODD_LAYERS,
    ),
    case("a local has the name of the added parameter", "add_norm_across", behind(FIRST_NORM, "        ahead = 2\n")),
]


@pytest.mark.parametrize(("rule", "pairs"), CASES)
def test_the_rule_is_left_out(rule, pairs):
    assert rule not in rules_of(port(varied(*pairs)))


def test_these_rules_take_llama_as_it_is():
    assert rules_of(port(varied())) >= {case.values[0] for case in CASES}

"""Merged projections: variations of Llama under which a rule would be wrong leave it out."""

from __future__ import annotations

import pytest

from tests.engine.sources import port, rules_of, varied, why
from tests.engine.variations import ACTIVATION, INIT, KEY, OUTPUT, QUERY, SUM, VALUE, before, behind, case

CASES = [
    case("a part is read in the same class", "merge_qkv", behind(OUTPUT, "        self.seen = self.q_proj.weight\n")),
    case(
        "a part is read in another class",
        "merge_qkv",
        behind(SUM, "        self.seen = self.self_attn.q_proj.weight\n"),
    ),
    case("a part is replaced afterwards", "merge_qkv", behind(INIT, "        self.q_proj = None\n")),
    case(
        "the keys come from another input",
        "merge_qkv",
        ("self.k_proj(hidden_states)", "self.k_proj(position_embeddings[0])"),
    ),
    case("the input is another one by then", "merge_qkv", before(KEY, "        hidden_states = hidden_states * 2\n")),
    case(
        "one projection has no bias",
        "merge_qkv",
        (
            "config.num_key_value_heads * self.head_dim, bias=config.attention_bias",
            "config.num_key_value_heads * self.head_dim",
        ),
    ),
    case(
        "a subclass has a projection of its own",
        "merge_qkv",
        before(
            "class LlamaDecoderLayer(",
            "class Wide(LlamaAttention):\n    def __init__(self, config, layer_idx):\n"
            "        super().__init__(config, layer_idx)\n        self.k_proj = nn.Linear(4, 8)\n\n\n",
        ),
        ("= LlamaAttention(config=config", "= Wide(config=config"),
    ),
    case(
        "the activation is on the other factor",
        "swiglu",
        ("self.act_fn(self.gate_proj(x)) * self.up_proj(x)", "self.gate_proj(x) * self.act_fn(self.up_proj(x))"),
    ),
    case("a part is named by a string", "merge_qkv", behind(OUTPUT, '        self.seen = getattr(self, "q_proj")\n')),
    case(
        "a part is read in a module function",
        "merge_qkv",
        before("def repeat_kv", "def rows(module):\n    return module.q_proj.out_features\n\n\n"),
    ),
    case("the class has an attribute of the merged name", "merge_qkv", behind(INIT, "        self.qkv = 2\n")),
    case(
        "a subclass has an attribute of the merged name",
        "merge_qkv",
        before("class LlamaDecoderLayer(", "class Wide(LlamaAttention):\n    qkv = 2\n\n\n"),
    ),
    case("the input is changed in place in between", "merge_qkv", before(KEY, "        hidden_states.mul_(0.5)\n")),
    case("an element of the input is set in between", "merge_qkv", before(KEY, "        hidden_states[..., 0] = 0\n")),
    case(
        "two projections stand in a branch before the third",
        "merge_qkv",
        (QUERY + KEY + VALUE, "        if use_cache:\n    " + KEY + "    " + VALUE + QUERY),
        (
            "        past_key_values: Cache | None = None,\n        **kwargs",
            "        use_cache=False,\n        **kwargs",
        ),
    ),
    case(
        "a projection stands in a loop that changes its input",
        "merge_qkv",
        (
            QUERY + KEY,
            QUERY + "        for _ in range(2):\n    " + KEY + "            hidden_states = hidden_states * 2\n",
        ),
        (VALUE, ""),
        before(QUERY, VALUE),
    ),
    case(
        "a projection stands in a nested function",
        "merge_qkv",
        (
            KEY,
            "        def keys(hidden_states):\n            return self.k_proj(hidden_states)\n\n"
            "        key_states = keys(hidden_states * 2).view(hidden_shape).transpose(1, 2)\n",
        ),
    ),
    case(
        "a projection stands in a lambda",
        "merge_qkv",
        ("self.k_proj(hidden_states)", "(lambda hidden_states: self.k_proj(hidden_states))(position_embeddings)"),
    ),
    case(
        "the projections stand in a comprehension",
        "merge_qkv",
        (
            QUERY + KEY + VALUE,
            "        query_states, key_states, value_states = "
            "[(self.q_proj(h), self.k_proj(h), self.v_proj(h)) for h in [hidden_states]][0]\n",
        ),
    ),
    case("the activation is replaced afterwards", "swiglu", behind(ACTIVATION, "        self.act_fn = nn.GELU()\n")),
    case(
        "the activation is replaced from outside",
        "swiglu",
        behind("        self.mlp = LlamaMLP(config)\n", "        self.mlp.act_fn = nn.GELU()\n"),
    ),
    case(
        "a subclass has another activation",
        "swiglu",
        before(
            "def repeat_kv",
            "class Soft(LlamaMLP):\n    def __init__(self, config):\n        super().__init__(config)\n"
            "        self.act_fn = nn.GELU()\n\n\n",
        ),
        ("= LlamaMLP(config)", "= Soft(config)"),
    ),
    case(
        "the activation is used elsewhere",
        "swiglu",
        ("        return down_proj\n", "        return down_proj + self.act_fn(x)\n"),
    ),
    case(
        "the class has an attribute of the merged name already",
        "swiglu",
        behind(ACTIVATION, "        self.gate_up = 2\n"),
    ),
]


OVER_PARTS = [
    case(
        f"{read} in a forward",
        "",
        behind(SUM, f"        hidden_states = hidden_states + len(list(self.mlp.{read}))\n"),
    )
    for read in ("children()", "named_modules()", "parameters()", "state_dict()", "_modules")
]
OVER_PARTS += [
    case(
        "hooks on whatever there is",
        "",
        behind("        self.post_init()\n", "        for part in self.modules():\n            watch(part)\n"),
    ),
]
NOT_OVER_PARTS = [
    case("a dtype is asked for", "", behind(SUM, "        dtype = next(self.parameters()).dtype\n")),
    case(
        "weights are drawn",
        "",
        behind(
            "class LlamaPreTrainedModel(PreTrainedModel):\n",
            "    def _init_weights(self, module):\n        return dict(module.named_parameters())\n\n",
        ),
    ),
    case(
        "weights are frozen",
        "",
        behind("        self.post_init()\n", "        [each.requires_grad_(False) for each in self.parameters()]\n"),
    ),
]
MERGES = {"merge_qkv", "swiglu"}


@pytest.mark.parametrize(("_", "pairs"), OVER_PARTS)
def test_code_that_goes_over_modules_sees_those_of_the_source(_, pairs):
    ported = port(varied(*pairs))
    assert not MERGES & set(rules_of(ported)) and "goes over modules or weights" in why(ported)


@pytest.mark.parametrize(("_", "pairs"), NOT_OVER_PARTS)
def test_what_asks_for_one_weight_or_sees_them_before_a_call_keeps_no_merge_away(_, pairs):
    assert set(rules_of(port(varied(*pairs)))) >= MERGES


@pytest.mark.parametrize(("rule", "pairs"), CASES)
def test_the_rule_is_left_out(rule, pairs):
    assert rule not in rules_of(port(varied(*pairs)))


def test_these_rules_take_llama_as_it_is():
    assert rules_of(port(varied())) >= {case.values[0] for case in CASES}

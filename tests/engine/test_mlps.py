"""MLPs of every spelling that rules take, in real files; variations under which that would be wrong are left."""

from __future__ import annotations

import pytest

from porter.convert import convert, inspect
from porter.source import load_source
from tests.engine.sources import port, port_of, source_of, varied, why
from tests.engine.variations import before

TAKEN = [
    ("llama", "LlamaMLP", "swiglu"),
    ("llama4", "Llama4TextMLP", "swiglu"),
    ("lfm2", "Lfm2MLP", "swiglu_called"),
    ("phi3", "Phi3MLP", "swiglu_fused"),
    ("granitemoeshared", "GraniteMoeSharedMLP", "swiglu_fused"),
]


@pytest.mark.parametrize(("model", "cls", "rule"), TAKEN)
def test_real_mlps_are_taken(model, cls, rule):
    (mlp,) = [site for site in inspect(source_of(model)).sites if site.name == f"{cls}.forward"]
    assert (mlp.status, mlp.rules) == ("ported", (rule,))


PLAIN = [
    ("arcee", "ArceeMLP"),
    ("gpt_neox", "GPTNeoXMLP"),
    ("gpt2", "GPT2MLP"),
    ("starcoder2", "Starcoder2MLP"),
    ("mpt", "MptMLP"),
    ("falcon", "FalconMLP"),
    ("axk2", "AXK2GateMLP"),
]


@pytest.mark.parametrize(("model", "cls"), PLAIN)
def test_plain_mlps_have_a_verdict(model, cls):
    (mlp,) = [site for site in inspect(source_of(model)).sites if site.name == f"{cls}.forward"]
    assert (mlp.status, mlp.rules) == ("verdict", ("mlp_plain",))
    assert "npu_ffn" in mlp.reason


def test_the_parts_of_a_merge_have_the_names_of_the_source():
    code = port_of("lfm2").code
    assert 'RowMerge("gate_up", ("w1", "w3"))' in code
    assert "self.w2(torch_npu.npu_swiglu(self.gate_up(x)))" in code


def left(name, model, *pairs):
    return pytest.param(model, pairs, id=name)


SECOND = """class SecondMLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.one = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.two = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)
        self.act_fn = ACT2FN[config.hidden_act]

    def forward(self, x):
        return self.down(self.act_fn(self.one(x)) * self.two(x))


"""
OTHER_MLP = (
    before("class LlamaAttention", SECOND),
    ("        self.mlp = LlamaMLP(config)", "        self.mlp = (SecondMLP if layer_idx % 2 else LlamaMLP)(config)"),
)


@pytest.mark.parametrize(
    ("model", "pairs"),
    [
        left("another activation", "lfm2", ("F.silu", "F.gelu")),
        left("the other half is activated", "phi3", ("gate, up_states = up", "up_states, gate = up")),
        left("a clamp between", "phi3", ("self.activation_fn(gate)", "self.activation_fn(gate.clamp(max=7.0))")),
        left("three parts", "granitemoeshared", ("hidden_states.chunk(2, dim=-1)", "hidden_states.chunk(3, dim=-1)")),
        left(
            "parts of other widths",
            "lfm2",
            ("self.w3 = nn.Linear(config.hidden_size, intermediate_size", "self.w3 = nn.Linear(config.hidden_size, 1"),
        ),
        left(
            "the activation is used again",
            "llama4",
            ("return self.down_proj(down_proj)", "return self.activation_fn(self.down_proj(down_proj))"),
        ),
        left("a part is used again", "lfm2", ("return self.w2(", "return self.w1(x) + self.w2(")),
        left("a plain MLP with an activation of its own", "arcee", ("ACT2FN[config.hidden_act]", "nn.GLU()")),
        left(
            "a plain MLP with a norm",
            "arcee",
            ("self.act_fn(self.up_proj(x))", "self.norm(self.act_fn(self.up_proj(x)))"),
        ),
        left("a plain MLP with a gate", "arcee", ("self.act_fn(self.up_proj(x))", "self.act_fn(x) * self.up_proj(x)")),
        left("another default", "phi3", ("ACT2FN[config.hidden_act]", 'ACT2FN["gelu"]')),
    ],
)
def test_where_it_would_be_wrong_the_mlp_is_left(model, pairs):
    ported = port(varied(*pairs, model=model), model)
    mlps = [site for site in ported.sites if site.kind == "mlp"]
    assert mlps and all(site.status == "left" for site in mlps), why(ported)


def test_one_name_holds_one_merge():
    ported = port(varied(*OTHER_MLP))
    status = {site.name: site.status for site in ported.sites if site.kind == "mlp"}
    assert status == {"LlamaMLP.forward": "ported", "SecondMLP.forward": "left"}
    assert "`gate_up` is what `gate_proj` and `up_proj` of other classes are merged into" in why(ported)


@pytest.mark.parametrize(
    ("model", "built"),
    [
        ("phi", "self.activation_fn = activation_of(config.hidden_act)"),
        ("opt", "self.activation_fn = activation_of(config.activation_function)"),
        ("falcon", "self.act = activation_of(config.activation)"),
        ("mpt", "self.act = Gelu()"),
        ("apertus", 'self.act_fn = ACT2CLS["xielu"](dtype=config.dtype)'),  # a rule of its own looks into it
    ],
)
def test_activations_are_built_as_modules_that_an_npu_computes(model, built):
    lines = [line.strip() for line in port_of(model).code.split("\n")]
    assert built in lines and not any("get_activation(" in line or "nn.GELU(" in line for line in lines)


def test_a_gated_activation_is_its_gate_s_and_no_activation_alone_makes_a_port():
    assert "activation_of" not in port_of("llama").code + port_of("gemma3").code + port_of("mixtral").code
    assert "no rule takes any site" in convert(load_source("transformers.models.bert"), name="x").diagnostics[0].message

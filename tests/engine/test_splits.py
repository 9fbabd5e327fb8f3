"""How ranks share weights: from the rules into the port, by the names and the layout that the source has."""

import pytest

from tests.engine.sources import port, port_of, text_of

EXPERTS = ("Qwen3MoeExperts", "gate_up_proj"), ("Qwen3MoeExperts", "down_proj")


def splits_of(code):
    """(class, attribute) -> (how, dimension), as the port says it."""
    given = {"weight_splits": ()}
    start = code.find("    weight_splits = (")
    if start >= 0:
        text = code[start : code.index("\n    )", start)] + "\n)"
        exec(text.lstrip(), {"WeightSplit": lambda *split: split}, given)
    return {split[:2]: split[2:] for split in given["weight_splits"]}


def test_experts_say_how_they_are_split_and_are_a_split_point():
    ported = port_of("qwen3_moe")
    gate_up, down = EXPERTS
    assert splits_of(ported.code) == {
        gate_up: ("halves", 1),
        down: ("pieces", 2),
        ("Qwen3MoeSparseMoeBlock", "gate"): ("whole", 0),
    }
    assert ported.split_points.row_parallel == ("self_attn.o_proj", "mlp.experts", "mlp.down_proj")
    assert ported.split_points.notes == ()


def test_a_model_without_them_says_nothing():
    assert "weight_splits" not in port_of("llama").code and "WeightSplit" not in port_of("llama").code


def test_weights_stored_as_they_are_multiplied_are_cut_along_other_dimensions():
    found = splits_of(port_of("aria").code)
    assert found["AriaExperts", "gate_up_proj"] == ("halves", 2) and found["AriaExperts", "down_proj"] == ("pieces", 1)


def test_they_go_by_the_names_of_the_source():
    assert splits_of(port_of("qwen2_moe").code)["Qwen2MoeSparseMoeBlock", "shared_expert_gate"] == ("whole", 0)
    assert splits_of(port_of("gpt_oss").code)["GptOssMLP", "router"] == ("whole", 0)


def test_experts_that_are_kept_are_no_split_point():
    kept = port(text_of("qwen3_moe"), "qwen3_moe", keep=("Qwen3MoeExperts",))
    assert not splits_of(kept.code).keys() & set(EXPERTS)
    assert kept.split_points.row_parallel == ("self_attn.o_proj", "mlp.down_proj")
    assert "no rule says how to split `mlp.experts`, experts of class `Qwen3MoeExperts`" in kept.split_points.notes


@pytest.mark.parametrize(
    ("model", "outputs"),
    [
        ("deepseek_v3", ("self_attn.o_proj", "mlp.experts", "mlp.shared_experts.down_proj", "mlp.down_proj")),
        ("qwen2_moe", ("self_attn.o_proj", "mlp.experts", "mlp.shared_expert.down_proj", "mlp.down_proj")),
        ("granitemoeshared", ("self_attn.o_proj", "block_sparse_moe.experts", "shared_mlp.output_linear")),
        ("axk2", ("self_attn.o_proj", "mlp.experts", "mlp.shared_experts.down_proj", "mlp.down_proj")),  # MLPs in norms
    ],
)
def test_every_sum_of_a_layer_is_found(model, outputs):
    assert port_of(model).split_points.row_parallel == outputs


def test_of_latent_attention_heads_are_split_and_latents_are_not():
    found = splits_of(port_of("deepseek_v3").code)
    attention = {name: how for (cls, name), (how, _) in found.items() if cls == "DeepseekV3Attention"}
    assert {name for name, how in attention.items() if how == "pieces"} == {"q_proj", "q_b_proj", "kv_b_proj"}
    whole = {"q_a_proj", "q_a_layernorm", "kv_a_proj_with_mqa", "kv_a_layernorm"}
    assert {name for name, how in attention.items() if how == "whole"} == whole

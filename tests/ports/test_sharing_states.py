"""Ports whose last layers read an earlier layer's keys and values compute what their source does, in every shape."""

from __future__ import annotations

import copy

import pytest
import torch

from porter.emit import emit
from porter.runtime import StaticKVCache
from porter.verify.pair import NpuOps, Pair, load, relative, write_checkpoint
from porter.verify.port import Port, open_to_compare
from porter.verify.precision import precision
from porter.verify.tiny import tiny_config
from tests.engine.sources import port_of

LAYERS = ["sliding_attention", "full_attention"]
FIVE = [*LAYERS, "sliding_attention", *LAYERS]
SHARED = {"num_hidden_layers": 5, "layer_types": FIVE, "num_kv_shared_layers": 2}
SHAPES = {
    "nothing shared": {},
    "two of five layers share": SHARED,
    "more share than write": {"num_hidden_layers": 6, "layer_types": LAYERS * 3, "num_kv_shared_layers": 4},
    "wider heads in full layers": dict(SHARED, head_dim=16, global_head_dim=64),
    "one key head": dict(SHARED, num_key_value_heads=1),
    "as many key heads as heads": dict(SHARED, num_key_value_heads=4),
    "turned in part": dict(
        SHARED,
        rope_parameters={
            "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
            "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.5, "rope_theta": 1000.0},
        },
    ),
    "a window of two": dict(SHARED, sliding_window=2),
    "biases": dict(SHARED, attention_bias=True),
}
OF_ITS_OWN = {
    "values are keys": dict(SHARED, attention_k_eq_v=True, num_global_key_value_heads=1),
    "no experts": dict(SHARED, enable_moe_block=False),
    "experts gated by erf": dict(SHARED, hidden_activation="gelu"),
    "wide where shared": dict(SHARED, enable_moe_block=False, use_double_wide_mlp=True),
    "no inputs of layers": {"hidden_size_per_layer_input": 0},
}
PORTED = ("gemma4", "gemma4_unified")
CASES = [("gemma4", shape) for shape in (*SHAPES, *OF_ITS_OWN)] + [("gemma4_unified", shape) for shape in SHAPES]


@pytest.fixture(scope="module")
def ports(tmp_path_factory):
    made = {}
    for model in PORTED:
        folder = tmp_path_factory.mktemp(model)
        emit(port_of(model), folder / "port")
        made[model] = open_to_compare(folder / "port")
        assert isinstance(made[model], Port), made[model]
    return made


def pair_of(port, folder, **shape) -> Pair:
    source_class = port.load_source_class()
    config = tiny_config(source_class.config_class, **copy.deepcopy({"sliding_window": 4, **shape}))
    write_checkpoint(source_class, config, folder)
    models = [load(kind, folder) for kind in (source_class, port.load_class())]
    return Pair(models[0], models[1], models[0].config, folder)


@pytest.fixture(scope="module", params=CASES, ids=[f"{model}: {shape}" for model, shape in CASES])
def pair(request, ports, tmp_path_factory) -> Pair:
    model, shape = request.param
    return pair_of(ports[model], tmp_path_factory.mktemp("checkpoint"), **{**SHAPES, **OF_ITS_OWN}[shape])


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_logits_beyond_the_window(pair, kept):
    ids = pair.prompts(2, 11)
    source, port = pair.both(lambda model: model(ids, logits_to_keep=kept).logits)
    assert source.shape[1] == (kept or 11) and relative(port, source) < 1e-5


def test_left_padding_and_the_steps_after_it(pair):
    batch = {name: value for name, value in pair.padded((3, 8)).items() if name != "position_ids"}
    for kept in (0, 1):
        source, port = pair.both(lambda model, kept=kept: model(**batch, logits_to_keep=kept).logits[:, -1])
        assert relative(port, source) < 1e-5
    source, port = pair.both(lambda model: model.generate(**batch, max_new_tokens=9, do_sample=False))
    assert torch.equal(port, source)


def test_one_token_and_no_cache(pair):
    one = pair.prompts(1, 1)
    source, port = pair.both(lambda model: model.generate(one, max_new_tokens=9, do_sample=False))
    assert torch.equal(port, source)
    ids = pair.prompts(2, 9)
    for kept in (0, 1, 2):
        source, port = pair.both(lambda model, kept=kept: model(ids, use_cache=False, logits_to_keep=kept).logits)
        assert relative(port, source) < 1e-5


def test_a_prompt_in_parts(pair):
    """The second part's queries stand behind tokens that are in the cache."""
    ids = pair.prompts(2, 11)

    def parts(model):
        first = model(ids[:, :6], use_cache=True, logits_to_keep=1)
        mask = torch.ones_like(ids)
        return model(ids[:, 6:], past_key_values=first.past_key_values, attention_mask=mask, logits_to_keep=2).logits

    source, port = pair.both(parts)
    assert relative(port, source) < 1e-5


def test_each_layer_is_one_kernel(pair):
    with torch.no_grad(), NpuOps() as ops:
        pair.port(pair.prompts(1, 5))
    assert ops.calls["npu_fused_infer_attention_score"] == pair.config.num_hidden_layers
    moe = pair.config.num_hidden_layers * bool(getattr(pair.config, "enable_moe_block", False))
    assert ops.calls.get("npu_grouped_matmul", 0) == 2 * moe and ops.calls.get("npu_moe_gating_top_k", 0) == moe


PRECISE = [
    *((model, "two of five layers share", dtype) for model in PORTED for dtype in (torch.bfloat16, torch.float16)),
    ("gemma4_unified", "nothing shared", torch.bfloat16),
    ("gemma4_unified", "biases", torch.bfloat16),
    ("gemma4_unified", "as many key heads as heads", torch.bfloat16),
    ("gemma4_unified", "one key head", torch.float16),
]


@pytest.mark.parametrize("model, shape, dtype", PRECISE, ids=str)
def test_no_further_from_the_truth_than_the_source(ports, tmp_path, model, shape, dtype):
    """Without experts: whose choice is not continuous is not measured so."""
    own = {"enable_moe_block": False} if model == "gemma4" else {}
    measured = precision(pair_of(ports[model], tmp_path, **SHAPES[shape], **own), dtype)
    assert measured.figure <= measured.limit, measured


def test_a_layer_that_shares_reads_the_layer_that_wrote(ports, tmp_path):
    pair = pair_of(ports["gemma4"], tmp_path, **SHARED)
    assert [layer.self_attn.kv_layer_idx for layer in pair.port.model.layers] == [0, 1, 2, 2, 1]
    cache = StaticKVCache(pair.config, max_cache_len=16)
    pair.port(pair.prompts(1, 5), past_key_values=cache)
    assert cache.nbytes and not hasattr(cache.layers[3], "cursor") and not hasattr(cache.layers[4], "cursor")


@pytest.mark.parametrize("asked", [{"return_shared_kv_states": True}, {"shared_kv_states": {}}], ids=str)
def test_states_that_layers_share_are_not_handed_out(ports, tmp_path, asked):
    pair = pair_of(ports["gemma4"], tmp_path, **SHARED)
    with pytest.raises(ValueError, match="keeps the keys and values that its layers share to itself"):
        pair.port(pair.prompts(1, 5), **asked)


def test_attention_in_both_directions_is_refused_when_the_model_is_built(ports):
    port = ports["gemma4"].load_class()
    with pytest.raises(ValueError, match="attends causally only"):
        port(tiny_config(port.config_class, use_bidirectional_attention="all"))


def test_another_gate_of_experts_is_refused_when_the_model_is_built(ports):
    port = ports["gemma4"].load_class()
    with pytest.raises(ValueError, match="npu_geglu computes gelu; this configuration asks for 'silu'"):
        port(tiny_config(port.config_class, hidden_activation="silu"))

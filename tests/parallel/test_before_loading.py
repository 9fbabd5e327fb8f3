"""What is refused, and how ranks are found, without a second process and without DeepSpeed."""

import sys
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from porter.parallel import CannotShard, Ranks, check_divides, kv_heads_of_rank, launch_from_environment, shard
from porter.parallel.inject import _check_cut, _wanted
from porter.parallel.launch import init_ranks
from porter.parallel.layers import Layer
from porter.parallel.rows import keep_own_sizes, merges_in, order_by_rank
from porter.runtime import injection_policy
from tests.parallel import tiny

LAUNCHED = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}


@pytest.mark.parametrize(
    ("changes", "world_size", "message"),
    [
        (
            {"num_attention_heads": 6, "num_key_value_heads": 2, "hidden_size": 96},
            4,
            "num_attention_heads is 6: .* size 4",
        ),
        ({"num_attention_heads": 8, "num_key_value_heads": 2}, 4, "num_key_value_heads is 2: .* size 4"),
        ({"num_attention_heads": 8, "intermediate_size": 100}, 8, "intermediate_size is 100: .* size 8"),
        ({"num_attention_heads": 8}, 0, "at least one rank, not 0"),
    ],
)
def test_what_does_not_divide_is_refused(changes, world_size, message):
    with pytest.raises(CannotShard, match=message):
        check_divides(tiny.config(**changes), world_size)


def test_the_fused_op_has_its_own_numbers_of_ranks():
    config = tiny.config(num_attention_heads=6, hidden_size=96, intermediate_size=96)
    check_divides(config, 6)
    with pytest.raises(CannotShard, match="fused_all_reduce runs on 1, 2, 4, 8 ranks, not 6"):
        check_divides(config, 6, fused_all_reduce=True)


def test_kv_heads_of_a_rank():
    assert [kv_heads_of_rank(tiny.config(**tiny.GROUPED), size) for size in (1, 2, 4)] == [4, 2, 1]


def test_a_model_is_unchanged_by_a_refusal():
    model = tiny.port(num_attention_heads=8, num_key_value_heads=2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(CannotShard, match="num_key_value_heads is 2"):
        shard(model, "llama2", 4)
    with pytest.raises(RuntimeError, match=r"2 ranks are wanted, the process group has 1: call init_ranks first"):
        shard(model, "llama2", 2)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_one_rank_gets_the_model_as_it_is():
    model = tiny.port(**tiny.GROUPED)
    assert shard(model, "llama2") is model and shard(model, "llama2", 1, fused_all_reduce=True) is model


def test_layers_that_nobody_knows_how_to_split_are_refused():
    def refused(message, change, policy="llama2"):
        model = tiny.port(**tiny.GROUPED)
        change(model.model.layers[1])
        with pytest.raises(CannotShard, match=message):
            shard(model, policy, 2)

    def nothing(layer):
        pass

    module, layer, outputs = injection_policy("llama2")
    refused("has no OtherLayer", nothing, (module, "OtherLayer", outputs))
    refused("LlamaDecoderLayer 0: nothing says how to split `mlp.down_proj`", nothing, (module, layer, ("mlp.out",)))
    refused("nothing says how to split `mlp.gate`", lambda layer: layer.mlp.add_module("gate", nn.Linear(4, 4)))
    refused(
        "guesses the parts of a linear called `qkv_proj`", lambda layer: setattr(layer, "qkv_proj", nn.Linear(4, 4))
    )
    refused("nothing says how to split `self_attn.o_proj`", nothing, (module, layer, outputs[1:]))
    experts = nn.Parameter(torch.zeros(2, 4, 4))
    refused("`mlp.experts` is .* how such weights are split", lambda layer: setattr(layer.mlp, "experts", experts))
    sinks = nn.Parameter(torch.zeros(4))
    refused("nothing says how to split `self_attn.sinks`", lambda layer: setattr(layer.self_attn, "sinks", sinks))
    norm = nn.LayerNorm(16)  # over all heads, or what of them there is
    refused("how to split `self_attn.q_norm.weight`", lambda layer: setattr(layer.self_attn, "q_norm", norm))
    by_head = nn.ModuleList(nn.LayerNorm(8) for _ in range(8))  # of the width that all heads have
    refused("how to split `self_attn.norms.0.weight`", lambda layer: setattr(layer.self_attn, "norms", by_head))
    decay = torch.ones(8)
    refused("how to split `self_attn.decay`", lambda layer: layer.self_attn.register_buffer("decay", decay))

    def other_words(layer):
        layer.mlp.__class__ = type("HunYuanMLP", (type(layer.mlp),), {})

    refused("LlamaDecoderLayer 1: DeepSpeed finds `Yuan` in its name, and cuts it as another model's", other_words)
    refused("weights are of torch.bfloat16, torch.float32", lambda layer: layer.mlp.bfloat16())


def test_a_plan_that_is_not_followed_is_refused(monkeypatch):
    model = tiny.port(**tiny.GROUPED)
    plan = dict(model.config.base_model_tp_plan) | {"layers.*.self_attn.q_proj": "colwise_gather_output"}
    monkeypatch.setattr(type(model.config), "base_model_tp_plan", plan)
    with pytest.raises(CannotShard, match=r"plan has 'colwise_gather_output' for `self_attn.q_proj`"):
        shard(model, "llama2", 2)


@pytest.mark.parametrize(("path", "dimension"), [("self_attn.o_proj", 1), ("mlp.gate_up", 0)])
def test_a_cut_that_is_another_one_is_seen(path, dimension):
    """As DeepSpeed makes some by guesses: of the same shape, of other heads."""
    for piece in (0, 1):
        layer = Layer(tiny.port(**tiny.GROUPED).model.layers[0], injection_policy("llama2")[2], ())
        wanted = {path: _wanted(layer, 0, 2)[path]}
        weight = layer.linears[path].weight
        weight.data = weight.data.chunk(2, dimension)[piece]
        seen = pytest.raises(RuntimeError, match=f"DeepSpeed cut `{path}` to another") if piece else nullcontext()
        with seen:
            _check_cut(layer, wanted)


def test_where_a_plan_is_silent_names_and_sums_are_enough(monkeypatch):
    def shard_by(plan, error, message):
        monkeypatch.setattr(type(model.config), "base_model_tp_plan", plan)
        with pytest.raises(error, match=message):
            shard(model, "llama2", 2)

    model = tiny.port(**tiny.GROUPED)
    experts = {"layers.*.mlp.experts": "moe_tp_experts", "layers.*.mlp.experts.down_proj": "rowwise"}
    shard_by(experts, RuntimeError, "call init_ranks first")
    shard_by(experts | {"layers.*.mlp.up_proj": "colwise"}, CannotShard, "how to split `mlp.gate_up`")


@pytest.mark.parametrize("world_size", [2, 4])
def test_an_equal_cut_of_ordered_rows_is_each_rank_s_heads(world_size):
    """Each piece computes what the whole does for its heads and its part of the MLP."""
    whole, cut = tiny.port(**tiny.GROUPED), tiny.port(**tiny.GROUPED)
    owned = list(merges_in(cut, cut.model.layers))
    assert {merge.name for merge, _ in owned} == {"qkv", "gate_up"} and len(owned) == 4
    order_by_rank(owned, world_size)
    keep_own_sizes(owned, world_size)
    x = torch.randn(3, 64)
    for layer, ordered in zip(whole.model.layers, cut.model.layers, strict=True):
        attention, mlp = ordered.self_attn, ordered.mlp
        assert attention.qkv_sizes == [size // world_size for size in layer.self_attn.qkv_sizes]
        wanted = [part.chunk(world_size, -1) for part in layer.self_attn.qkv(x).split([64, 32, 32], -1)]
        halves = [part.chunk(world_size, -1) for part in layer.mlp.gate_up(x).chunk(2, -1)]
        for rank in range(world_size):
            qkv = attention.qkv(x).chunk(world_size, -1)[rank].split(attention.qkv_sizes, -1)
            gate_up = mlp.gate_up(x).chunk(world_size, -1)[rank].chunk(2, -1)
            for got, parts in zip((*qkv, *gate_up), (*wanted, *halves), strict=True):
                torch.testing.assert_close(got, parts[rank])


@pytest.mark.parametrize("environment", [{}, {"WORLD_SIZE": ""}, LAUNCHED | {"WORLD_SIZE": "1"}])
def test_alone_there_is_one_rank_and_no_process_group(environment):
    ranks = launch_from_environment("cpu", environment=environment)
    assert ranks == Ranks(0, 0, 1, torch.device("cpu")) and not ranks.parallel
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("RANK", None, "WORLD_SIZE is set but RANK is not"),
        ("LOCAL_RANK", "first", "LOCAL_RANK is 'first', not a number"),
        ("RANK", "2", r"rank 2 \(local 0\) is not one of 2"),
        ("MASTER_PORT", None, "MASTER_PORT is not set: start by deepspeed or torchrun"),
    ],
)
def test_an_environment_that_contradicts_itself(name, value, message):
    environment = {key: text for key, text in (LAUNCHED | {name: value}).items() if text is not None}
    with pytest.raises(ValueError, match=message):
        launch_from_environment("cpu", environment=environment)


def test_a_device_without_a_backend():
    with pytest.raises(ValueError, match="tensor parallelism runs on npu and cpu, not on cuda"):
        init_ranks(0, 0, 2, "cuda")


def test_deepspeed_is_needed_only_where_there_are_peers(monkeypatch):
    monkeypatch.setitem(sys.modules, "deepspeed", None)
    assert not init_ranks(0, 0, 1, "cpu").parallel
    with pytest.raises(RuntimeError, match=r"tensor parallelism needs DeepSpeed, pip install 'porter\[tp\]'"):
        init_ranks(0, 0, 2, "cpu")

"""Ports with experts compute what their source does, wherever the tokens go."""

from __future__ import annotations

import pytest
import torch

from porter.emit import emit
from porter.verify.pair import NpuOps, Pair, load, relative, write_checkpoint
from porter.verify.port import Port, open_to_compare
from porter.verify.tiny import tiny_config
from tests.engine.sources import port_of

OPS = ("npu_moe_init_routing_v2", "npu_moe_finalize_routing")
MODELS = {
    "qwen3_moe": {"num_experts": 8, "num_experts_per_tok": 2, "norm_topk_prob": True},
    "mixtral": {"num_local_experts": 4},
    "glm4_moe": {"n_routed_experts": 16, "n_group": 4, "topk_group": 2, "num_experts_per_tok": 3},
    "qwen2_moe": {"num_experts": 6},
    "minimax_m2": {},
    "aria": {},
    "ernie4_5_moe": {},
    "gpt_oss": {"num_local_experts": 4, "num_experts_per_tok": 2},
}


@pytest.fixture(scope="module", params=MODELS)
def pair(request, tmp_path_factory) -> Pair:
    folder = tmp_path_factory.mktemp(request.param)
    emit(port_of(request.param), folder / "port")
    port = open_to_compare(folder / "port")
    assert isinstance(port, Port), port
    source_class = port.load_source_class()
    config = tiny_config(source_class.config_class, **MODELS[request.param])
    write_checkpoint(source_class, config, folder / "checkpoint")
    models = [load(kind, folder / "checkpoint") for kind in (source_class, port.load_class())]
    return Pair(models[0], models[1], config, folder)


def routers(model):
    return [module for name, module in model.named_modules() if type(module).__name__.endswith("Router")]


def chosen_by(model, ids):
    """What each router chose, (tokens, k) int64, and the logits."""
    seen = []
    handles = [router.register_forward_hook(lambda *call: seen.append(call[2][2].long())) for router in routers(model)]
    with torch.no_grad():
        logits = model(ids, use_cache=False).logits
    for handle in handles:
        handle.remove()
    return seen, logits


@pytest.fixture
def indifferent(pair):
    """Both models with routers that say the same of every token: all go to the same experts, the others get none."""
    states = [[dict(router.state_dict()) for router in routers(model)] for model in (pair.source, pair.port)]
    kept = [[{n: v.clone() for n, v in state.items()} for state in of_model] for of_model in states]
    for model in (pair.source, pair.port):
        for router in routers(model):
            router.weight.data.zero_()
    yield pair
    for model, of_model in zip((pair.source, pair.port), kept, strict=True):
        for router, state in zip(routers(model), of_model, strict=True):
            router.load_state_dict(state)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 7)])
def test_the_same_experts_are_chosen_and_the_logits_are_the_source_s(pair, shape):
    ids = pair.prompts(*shape)
    with NpuOps() as ops:
        port_chose, logits = chosen_by(pair.port, ids)
    source_chose, truth = chosen_by(pair.source, ids)
    assert source_chose and all(ops.calls[op] == len(source_chose) for op in OPS)
    for one, other in zip(port_chose, source_chose, strict=True):
        assert torch.equal(one.sort(-1)[0], other.sort(-1)[0])
    assert relative(logits, truth) < 1e-5


def test_experts_without_a_token_and_ties(indifferent):
    ids = indifferent.prompts(2, 9)
    source_chose, truth = chosen_by(indifferent.source, ids)
    port_chose, logits = chosen_by(indifferent.port, ids)
    assert all(len(chosen.unique()) == chosen.shape[1] for chosen in source_chose)
    for one, other in zip(port_chose, source_chose, strict=True):
        assert torch.equal(one.sort(-1)[0], other.sort(-1)[0])
    assert relative(logits, truth) < 1e-5


def test_left_padding_goes_to_experts_too_and_changes_nothing(pair):
    batch = pair.padded((3, 8))
    source, port = pair.both(lambda model: model(**batch).logits[:, -1])
    assert relative(port, source) < 1e-5


def test_no_weight_is_there_twice_and_each_has_its_own_name(pair):
    sizes = [sum(parameter.numel() for parameter in model.parameters()) for model in (pair.source, pair.port)]
    assert sizes[0] == sizes[1]
    saved = [model.state_dict() for model in (pair.source, pair.port)]
    mine = {name: value for name, value in saved[0].items() if ".experts." in name}
    assert mine and all(torch.equal(value, saved[1][name]) for name, value in mine.items())


def test_a_product_with_another_expert_s_share_would_be_seen(pair):
    """The comparison can fail: shares handed out the other way round are another output."""
    experts = [module for module in pair.port.modules() if type(module).__name__.endswith("Experts")]

    def swapped(_, given):
        return given[0], given[1], given[2].flip(-1) + 0.1

    swap = [module.register_forward_pre_hook(swapped) for module in experts]
    source, port = pair.both(lambda model: model(pair.prompts(2, 9), use_cache=False).logits)
    for handle in swap:
        handle.remove()
    assert relative(port, source) > 1e-4

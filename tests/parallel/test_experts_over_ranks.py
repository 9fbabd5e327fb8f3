"""Experts, latent attention and sinks over two ranks: what one process computes, and what is refused."""

import pytest
import torch

from porter.parallel import CannotShard, check_divides, shard
from porter.runtime import WeightSplit, injection_policy
from tests.error_rule import model_roundings, no_further, surely_chosen
from tests.parallel import experts, tiny

B = len(tiny.PROMPTS)


@pytest.fixture(scope="module")
def of_one_process(tmp_path_factory):
    models = tmp_path_factory.mktemp("made") / "ports"
    experts.make_ports(models)
    return {case: experts.alone(case, tmp_path_factory.mktemp("alone"), models) for case in experts.SIZES}


@pytest.mark.parametrize("case", experts.SIZES)
def test_logits_and_tokens_are_those_of_one_process(ranks, of_one_process, case, record_property):
    expected = of_one_process[case]
    roundings = model_roundings(expected["config"], 8)
    assert expected["tokens"].unique().numel() > 8, "a model that always says the same shows nothing"
    surely_chosen(expected["choices"], model_roundings(expected["config"], 8 + tiny.NEW_TOKENS))
    for results in ranks:
        difference = (results[case]["logits"] - expected["logits"]).abs().max().item()
        record_property("max |dlogit|", difference)
        assert difference < 1e-5 * expected["logits"].abs().max()
        no_further(results[case]["logits"], expected["logits"], expected["truth"], roundings)
        assert torch.equal(results[case]["tokens"], expected["tokens"])
    assert torch.equal(ranks[0][case]["logits"], ranks[1][case]["logits"])


@pytest.mark.parametrize("control", experts.WRONG)
def test_a_wrong_split_is_seen(ranks, of_one_process, control):
    expected = of_one_process[experts.WRONG[control][0]]["logits"]
    assert (ranks[1][control] - expected).abs().max() > 0.1


@pytest.mark.parametrize(
    ("case", "sums", "kv"),
    [
        ("qwen3_moe", 2 + 2, (2, 8)),
        ("mixtral", 2 + 2, (1, 16)),
        ("glm4_moe", 2 + 3, (1, 16)),  # a layer with shared experts has one sum more
        ("gpt_oss", 2 + 2, (1, 16)),
        ("deepseek_v3", 2 + 3, (1, 16)),
        ("deepseek_v2", 2 + 4, (1, 16)),  # both layers have shared experts
        ("mimo_v2_flash", 2 + 2, (1, 16)),
    ],
)
def test_each_sum_once_and_the_cache_of_the_rank(ranks, case, sums, kv):
    """Heads of the rank and their width; of latent attention the one latent, whole. The LM head sums, too."""
    for results in ranks:
        assert results[case]["sums"] == [(sums + 1, 0), (sums + 1, 0)]
        assert results[case]["kv"] == (B, results[case]["kv"][1], *kv)


def test_a_rank_holds_its_part_of_the_experts_and_all_of_the_router(ranks):
    for results in ranks:
        shapes = results["deepseek_v3"]["shapes"]
        assert shapes["mlp.experts.gate_up_proj"] == (8, 32, 64) and shapes["mlp.experts.down_proj"] == (8, 64, 16)
        assert shapes["mlp.gate.weight"] == (8, 64)
        assert shapes["self_attn.kv_a_proj_with_mqa.weight"] == (16 + 8, 64)
        assert shapes["self_attn.q_b_proj.weight"] == (4 * 24 // 2, 32)
        assert shapes["self_attn.kv_b_proj.weight"] == (4 * 32 // 2, 16)
        shapes = results["gpt_oss"]["shapes"]
        assert shapes["mlp.experts.gate_up_proj"] == (4, 64, 128) and shapes["mlp.experts.down_proj"] == (4, 64, 64)
        assert shapes["self_attn.sinks"] == (2,)


def test_latents_are_absorbed_on_each_rank_too(ranks):
    for results in ranks:
        assert results["deepseek_v3"]["absorbing"] and results["deepseek_v2"]["absorbing"]
        assert not results["glm4_moe"]["absorbing"]


def test_experts_sum_inside_the_graph(ranks):
    """((all-reduces, fused ops), executions) of prefill and decode."""
    for results in ranks:
        assert results[experts.IN_ONE_GRAPH]["graphs"] == [((3, 0), 1), ((3, 0), tiny.NEW_TOKENS - 1)]


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize(
    ("how", "order"), [("pieces", list(range(8))), ("halves", None), ("pairs", list(range(8))), ("once", None)]
)
def test_parts_make_the_whole(how, order, ranks):
    weight = torch.arange(3 * 8.0).view(3, 8)
    split = WeightSplit("Experts", "weight", how, 1)
    assert split.fault(weight.shape, ranks) is None
    assert how == "once" or "do not divide" in split.fault(torch.Size((3, 8 + ranks // 2)), ranks)
    parts = [split.part(weight, rank, ranks) for rank in range(ranks)]
    if how == "once":
        assert torch.equal(sum(parts), weight) and torch.equal(parts[0], weight)
    elif how == "halves":
        halves = [torch.cat(half, 1) for half in zip(*(part.chunk(2, 1) for part in parts), strict=True)]
        assert torch.equal(torch.cat(halves, 1), weight)
    else:
        assert torch.equal(torch.cat(parts, 1), weight[:, order])
    assert all(part.is_contiguous() for part in parts)


def refused(message, case, policy=None, ranks=2, **changes):
    model = experts.port(case, **changes)
    before = {name: weight.shape for name, weight in model.named_parameters()}
    with pytest.raises(CannotShard, match=message):
        shard(model, policy or experts.name_of(case), ranks)
    assert {name: weight.shape for name, weight in model.named_parameters()} == before


def test_what_does_not_divide_is_refused():
    refused("moe_intermediate_size is 31", "qwen3_moe", moe_intermediate_size=31)
    refused("num_attention_heads is 4: .* size 8", "deepseek_v3", ranks=8)
    config = experts.port("gpt_oss", intermediate_size=33).config
    with pytest.raises(CannotShard, match="intermediate_size is 33"):
        check_divides(config, 2)


def test_what_nothing_says_how_to_split_is_refused(monkeypatch):
    module, layer, outputs = injection_policy("deepseek_v3")
    assert outputs == ("self_attn.o_proj", "mlp.experts", "mlp.shared_experts.down_proj", "mlp.down_proj")
    others = tuple(output for output in outputs if output != "mlp.experts")
    refused("nothing sums over ranks what comes of `mlp.experts.down_proj`", "deepseek_v3", (module, layer, others))
    others = tuple(output for output in outputs if "shared" not in output)
    refused("how to split `mlp.shared_experts.down_proj`", "deepseek_v3", (module, layer, others))
    for case, attribute, message in (
        ("gpt_oss", "down_proj", r"`mlp.experts.down_proj` is \(4, 128, 64\): nothing says how such weights are split"),
        ("gpt_oss", "down_proj_bias", "nothing says how to split `mlp.experts.down_proj_bias`"),
        ("gpt_oss", "sinks", "nothing says how to split `self_attn.sinks`"),
        ("deepseek_v3", "kv_a_proj_with_mqa", "nothing says how to split `self_attn.kv_a_proj_with_mqa`"),
        ("deepseek_v3", "kv_a_layernorm", "nothing says how to split `self_attn.kv_a_layernorm.weight`"),
    ):
        made = type(experts.port(case)).__mro__
        owner = next(cls for cls in made if "weight_splits" in vars(cls))
        fewer = tuple(split for split in owner.weight_splits if split.name != attribute)
        assert len(fewer) == len(owner.weight_splits) - 1
        with monkeypatch.context() as patch:
            patch.setattr(owner, "weight_splits", fewer)
            refused(message, case)

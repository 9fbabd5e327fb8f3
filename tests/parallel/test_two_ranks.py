"""Two ranks compute what one process does: logits, tokens, cache, graphs; and controls that must differ."""

import time

import pytest
import torch
from torch import multiprocessing

from porter.runtime import StaticKVCache
from tests.error_rule import model_roundings, no_further, surely_chosen
from tests.parallel import tiny
from tests.parallel.conftest import start_two

LAYERS = 2
CASES = {
    "grouped": "grouped",
    "plain": "plain",
    "fused": "grouped",
    "captured": "grouped",
    "fused captured": "grouped",
}
CONTROLS = ("no all-reduce", "bias before the reduce", "rows not ordered")


@pytest.mark.parametrize("case", CASES)
def test_logits_and_tokens_are_those_of_one_process(ranks, alone, case, record_property):
    expected = alone[CASES[case]]
    assert expected["tokens"].unique().numel() > 8, "a model that always says the same shows nothing"
    surely_chosen(expected["choices"], model_roundings(expected["config"], 8 + tiny.NEW_TOKENS))
    for results in ranks:
        difference = (results[case]["logits"] - expected["logits"]).abs().max().item()
        record_property("max |dlogit|", difference)
        roundings = model_roundings(expected["config"], 8)
        no_further(results[case]["logits"], expected["logits"], expected["truth"], roundings)
        assert torch.equal(results[case]["tokens"], expected["tokens"])
    assert torch.equal(ranks[0][case]["logits"], ranks[1][case]["logits"])


@pytest.mark.parametrize("case", CONTROLS)
def test_a_wrong_split_is_seen(ranks, alone, case):
    wrong, expected = ranks[0][case], alone["grouped"]
    assert (wrong["logits"] - expected["logits"]).abs().max() > 0.1
    assert not torch.equal(wrong["tokens"], expected["tokens"])


@pytest.mark.parametrize(("case", "heads", "head_dim"), [("grouped", 2, 8), ("plain", 2, 16), ("fused", 2, 8)])
def test_the_cache_holds_the_heads_of_the_rank(ranks, case, heads, head_dim):
    for results in ranks:
        slots = results[case]["kv"][1]
        assert results[case]["kv"] == (len(tiny.PROMPTS), slots, heads, head_dim)
        assert results[case]["nbytes"] == LAYERS * 2 * len(tiny.PROMPTS) * slots * heads * head_dim * 4


def test_one_process_holds_them_all():
    model = tiny.port(**tiny.GROUPED)
    cache = StaticKVCache(model.config, 8)
    with torch.no_grad():
        model(torch.tensor([tiny.PROMPTS[0]]), past_key_values=cache)
    assert cache.layers[0].keys.shape == (1, 8, 4, 8)


def test_sums_over_ranks_in_eager(ranks):
    """Prefill, then decode: (all-reduces, fused ops). Two a layer, and the LM head's."""
    each = 2 * LAYERS
    assert ranks[0]["grouped"]["sums"] == [(each + 1, 0), (each + 1, 0)]
    assert ranks[0]["fused"]["sums"][0][1] == each, "prefill is fused"
    assert ranks[0]["fused"]["sums"][1] == (each + 1, 0), "decode is not"


def test_prefill_and_decode_are_one_graph_each(ranks):
    """((all-reduces, fused ops), executions) of each graph that ran."""
    each, steps = 2 * LAYERS, tiny.NEW_TOKENS - 1
    for results in ranks:
        assert results["captured"]["graphs"] == [((each + 1, 0), 1), ((each + 1, 0), steps)]
        assert results["fused captured"]["graphs"] == [((1, each), 1), ((each + 1, 0), steps)]


def test_rotary_frequencies_stay_float32_in_a_bfloat16_model(ranks):
    result = ranks[0]["bfloat16"]
    assert result["dtype"] == torch.bfloat16
    assert torch.equal(result["frequencies"], tiny.port(**tiny.GROUPED).model.rotary_emb.inv_freq)


def test_one_rank_s_weights_are_not_saved_as_a_checkpoint(ranks):
    assert "one rank's part" in ranks[1]["save"]["error"]


def test_the_op_sums_the_bias_too(ranks):
    for results in ranks:
        for dtype, out in results["op with bias"].items():
            assert out.dtype == dtype and out.shape == (2, 3, 5)
            assert (out == 4 * 1 + 4 * 2 + 2 * 0.5).all()


def _sleep(rank, folder):
    time.sleep(9999)


def test_processes_that_hang_are_ended(tmp_path):
    with pytest.raises(TimeoutError):
        start_two(_sleep, tmp_path, limit=0)
    assert not multiprocessing.active_children()

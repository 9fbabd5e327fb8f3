"""Attention with sinks: which real files have it, and variations under which it would be another attention."""

from __future__ import annotations

import pytest

from porter.convert import inspect
from tests.engine.sources import port, port_of, rules_of, source_of, varied, why

TAKEN = {
    "gpt_oss": "GptOssAttention",
    "granite_swa": "GraniteSWAAttention",
    "granitemoe_swa": "GraniteMoeSWAAttention",
    "flint": "FlintAttention",
}


@pytest.mark.parametrize(("model", "attention"), TAKEN.items(), ids=TAKEN)
def test_attention_with_sinks_of_real_files(model, attention):
    found = {site.name: site for site in inspect(source_of(model)).sites}
    assert found[f"{attention}.forward"].rules == ("attention_sinks", "merge_qkv")
    code = port_of(model).code
    assert "softmax_lse_flag=True" in code and "self.sinks.float()" in code
    assert "eager_attention_forward" not in code and "create_sliding_window_causal_mask" not in code


def test_the_rotation_by_chunks_takes_its_helper_along():
    code = port_of("gpt_oss").code
    assert code.count("npu_rotary_mul(") == 2 and "torch.chunk" not in code
    assert "cos = torch.cat((cos, cos), dim=-1).unsqueeze(unsqueeze_dim)" in code


CALL = "            s_aux=self.sinks,  # diff with Llama\n"
DROPPED = "    scores = probs[..., :-1]  # we drop the sink here\n"
SINKS = "    sinks = module.sinks.reshape(1, -1, 1, 1)"
TURN = "    first_ = first_half * cos - second_half * sin\n"
PARTS = "    first_half, second_half = torch.chunk(x, 2, dim=-1)\n"
UNSOUND = {
    "the sinks are not handed on": (CALL, ""),
    "other numbers are handed on": (CALL, "            s_aux=self.others,\n"),
    "scores are capped too": (CALL, f"{CALL}            softcap=50.0,\n"),
    "the sink comes first": (DROPPED, "    scores = probs[..., 1:]\n"),
    "sinks are scaled": (SINKS, SINKS.replace("module.sinks", "(module.sinks * 2)")),
    "other sinks are added": (SINKS, SINKS.replace("module.sinks", "module.others")),
    "a mask is a factor": (
        "        attn_weights = attn_weights + attention_mask\n",
        "        attn_weights = attn_weights * attention_mask\n",
    ),
    "heads turn back": (TURN, TURN.replace("-", "+")),
    "neighbours turn": (PARTS, "    first_half, second_half = x[..., ::2], x[..., 1::2]\n"),
}


@pytest.mark.parametrize("pair", UNSOUND.values(), ids=UNSOUND)
def test_what_would_be_another_attention_is_left(pair):
    ported = port(varied(pair, model="gpt_oss"), "gpt_oss")
    assert not {"attention", "attention_sinks"} & rules_of(ported)
    left = {site.name for site in ported.sites if site.status == "left"}
    assert left & {"GptOssAttention.forward", "GptOssModel.forward"}, why(ported)  # of a cap the cache alone is left
    assert "npu_fused_infer_attention_score" not in ported.code


def test_sinks_beside_a_function_that_drops_them_are_left():
    """Llama's own function takes sinks by name and does nothing with them: neither rule may say it does."""
    scaling = "            scaling=self.scaling,\n"
    ported = port(varied((scaling, f"{scaling}            s_aux=self.sinks,\n")))
    assert not {"attention", "attention_sinks"} & rules_of(ported)

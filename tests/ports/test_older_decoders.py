"""Decoders whose q, k and v are one projection, whose heads turn on slices, or whose positions are learned."""

from __future__ import annotations

import pytest
import torch

from porter.convert import convert
from porter.diagnostics import Refused
from porter.emit import emit
from porter.rewrite import Ported
from porter.source import load_source
from porter.verify.pair import Pair, load, write_checkpoint
from porter.verify.parity import verify
from porter.verify.port import open_to_compare
from porter.verify.tiny import tiny_config
from tests.engine.sources import port, text_of

KERNEL = "torch_npu.npu_fused_infer_attention_score("
WHOLE = ["phi", "gpt_neox", "persimmon", "opt", "stablelm"]


def converted(model: str) -> Ported | Refused:
    source = load_source(f"transformers.models.{model}")
    assert not isinstance(source, Refused)
    return convert(source, name=model)


@pytest.mark.parametrize("model", WHOLE)
def test_every_site_is_ported_or_right_as_it_is_and_computes_the_source(model, tmp_path):
    result = converted(model)
    assert isinstance(result, Ported) and KERNEL in result.code
    assert {site.status for site in result.sites} == {"ported", "verdict"}
    emit(result, tmp_path / model)
    checks = verify(tmp_path / model, quick=True)
    assert not isinstance(checks, Refused)
    assert [check for check in checks if check.failed] == []
    assert sum(check.passed for check in checks) >= 20


@pytest.mark.parametrize("model", ["phi", "persimmon", "stablelm"])
def test_norms_of_heads_before_the_slices_stay_where_they_are(model, tmp_path):
    result = converted(model)
    assert isinstance(result, Ported)
    emit(result, tmp_path / model)
    opened = open_to_compare(tmp_path / model)
    assert not isinstance(opened, Refused)
    source, ported = opened.load_source_class(), opened.load_class()
    config = tiny_config(source.config_class, qk_layernorm=True)
    write_checkpoint(source, config, tmp_path / "checkpoint")
    pair = Pair(load(source, tmp_path / "checkpoint"), load(ported, tmp_path / "checkpoint"), config, tmp_path)
    one, other = pair.both(lambda model: model(**pair.padded((9, 4))).logits[:, -1])
    torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("model", ["xglm", "codegen", "gpt_neo"])
def test_what_no_rule_takes_exactly_keeps_its_attention(model):
    outcome = converted(model)
    assert isinstance(outcome, Refused) or KERNEL not in outcome.code


FROM_PHI = [
    ("[..., : self.rotary_ndims]", "[:, :, : self.rotary_ndims]"),
    ("key_states = torch.cat((key_rot, key_pass), dim=-1)", "key_states = torch.cat((key_pass, key_rot), dim=-1)"),
    ("key_states[..., self.rotary_ndims :]", "query_states[..., self.rotary_ndims :]"),
    ("query_rot, key_rot = apply_rotary_pos_emb(query_rot, key_rot, cos, sin)", "query_rot = query_rot * cos[:, None]"),
    ("self.is_causal = True", "self.is_causal = False"),
]


@pytest.mark.parametrize(("old", "new"), FROM_PHI, ids=[new for _, new in FROM_PHI])
def test_another_computation_on_slices_keeps_its_attention(old, new):
    text = text_of("phi")
    assert old in text
    assert KERNEL not in port(text.replace(old, new), model="phi").code


FROM_OPT = [
    ("position_attention_mask, past_seen_tokens, position_ids", "attention_mask=causal_mask, position_ids"),
    ("hidden_states=decoder_outputs.hidden_states", "hidden_states=decoder_outputs.hidden_states * 2"),
]


@pytest.mark.parametrize(("old", "new"), FROM_OPT, ids=["an embedding is given it", "a wrapper computes"])
def test_a_mask_that_goes_elsewhere_keeps_the_attention(old, new):
    text = text_of("opt")
    assert old in text
    assert KERNEL not in port(text.replace(old, new), model="opt").code

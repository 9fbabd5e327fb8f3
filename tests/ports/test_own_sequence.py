"""Decoders that could look at an encoder's states: ported for their own sequence, and nothing else is taken."""

from __future__ import annotations

import sys

import pytest
import torch

from porter.convert import convert
from porter.diagnostics import Refused
from porter.emit import emit
from porter.rewrite import Ported
from porter.runtime import npu_encoder_mask
from porter.source import load_source
from porter.verify.pair import Pair, load, write_checkpoint
from porter.verify.parity import verify
from porter.verify.port import open_to_compare
from porter.verify.tiny import tiny_config
from tests.engine.sources import convert_text, text_of

KERNEL = "torch_npu.npu_fused_infer_attention_score("
WHOLE = ["bart", "bigbird_pegasus", "biogpt", "gpt2", "gpt_bigcode", "marian", "pegasus"]


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """The port of bart, open."""
    folder = tmp_path_factory.mktemp("own") / "bart"
    source = load_source("transformers.models.bart")
    assert not isinstance(source, Refused)
    result = convert(source, name="bart")
    assert isinstance(result, Ported)
    emit(result, folder)
    found = open_to_compare(folder)
    assert not isinstance(found, Refused)
    return found


@pytest.mark.parametrize("model", WHOLE)
def test_every_site_is_ported_or_right_as_it_is_and_computes_the_source(model, tmp_path):
    source = load_source(f"transformers.models.{model}")
    assert not isinstance(source, Refused)
    result = convert(source, name=model)
    assert isinstance(result, Ported) and KERNEL in result.code
    assert {site.status for site in result.sites} == {"ported", "verdict"}
    emit(result, tmp_path / model)
    checks = verify(tmp_path / model, quick=True)
    assert not isinstance(checks, Refused)
    assert [check for check in checks if check.failed] == []
    assert sum(check.passed for check in checks) >= 20


def test_states_of_an_encoder_are_an_error_before_anything_is_computed(opened):
    model = opened.load_class()(tiny_config(opened.load_class().config_class)).eval()
    ids, states = torch.tensor([[5, 6, 7]]), torch.zeros(1, 4, 64)
    with pytest.raises(ValueError, match="takes no states of an encoder"):
        model(ids, encoder_hidden_states=states)
    with pytest.raises(ValueError, match="takes no states of an encoder"):
        model.generate(ids, encoder_hidden_states=states, max_new_tokens=2)
    attention = model.model.decoder.layers[0].encoder_attn
    with pytest.raises(ValueError, match="takes no states of an encoder"):
        attention(torch.zeros(1, 3, 64), key_value_states=states)


def test_the_encoder_beside_the_decoder_is_an_error_and_not_made_causal(opened):
    ported = opened.load_class()
    encoder = sys.modules[ported.__module__].BartModel(tiny_config(ported.config_class)).eval().encoder
    with pytest.raises(ValueError, match="takes no states of an encoder"):
        encoder(torch.tensor([[5, 6, 7]]))


def test_a_mask_of_an_encoders_states_is_none_of_the_own_sequence(opened):
    model = opened.load_class()(tiny_config(opened.load_class().config_class)).eval()
    mask = npu_encoder_mask(None)
    with pytest.raises(ValueError, match="no mask of the own sequence"):
        model.model.decoder.layers[0](torch.zeros(1, 3, 64), mask)
    with pytest.raises(ValueError, match="takes no states of an encoder"):
        npu_encoder_mask(torch.zeros(1, 4, 64))


@pytest.mark.parametrize("settings", [{"multi_query": True}, {"multi_query": False}], ids=str)
def test_one_head_of_keys_or_as_many_as_of_queries(tmp_path, settings):
    source = load_source("transformers.models.gpt_bigcode")
    assert not isinstance(source, Refused)
    result = convert(source, name="gpt_bigcode")
    assert isinstance(result, Ported)
    emit(result, tmp_path / "gpt_bigcode")
    found = open_to_compare(tmp_path / "gpt_bigcode")
    assert not isinstance(found, Refused)
    source, ported = found.load_source_class(), found.load_class()
    config = tiny_config(source.config_class, **settings)
    write_checkpoint(source, config, tmp_path / "checkpoint")
    pair = Pair(load(source, tmp_path / "checkpoint"), load(ported, tmp_path / "checkpoint"), config, tmp_path)
    one, other = pair.both(lambda model: model(**pair.padded((9, 4))).logits[:, -1])
    torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-5)
    states = torch.zeros(1, 4, config.hidden_size)
    with pytest.raises(ValueError, match="takes no states of an encoder"):
        pair.port(torch.tensor([[5, 6, 7]]), encoder_hidden_states=states)


def test_a_decoder_of_more_layers_than_its_encoder_is_an_error_as_in_the_source(opened):
    """The source's cache is as long as its configuration counts, and breaks at the layer behind."""
    ids = torch.tensor([[5, 6, 7]])
    for cls, error in ((opened.load_source_class(), IndexError), (opened.load_class(), ValueError)):
        model = cls(tiny_config(cls.config_class, encoder_layers=1, decoder_layers=3)).eval()
        with pytest.raises(error, match=r"range|layer_idx 1 writes to a KV cache of 1 layers"):
            model.generate(ids, max_new_tokens=2)


@pytest.mark.parametrize("layers", [(3, 2), (2, 2)])
def test_layers_are_counted_by_the_cache_and_weights_are_shared_out(opened, tmp_path, layers):
    source, ported = opened.load_source_class(), opened.load_class()
    config = tiny_config(source.config_class, encoder_layers=layers[0], decoder_layers=layers[1], scale_embedding=True)
    write_checkpoint(source, config, tmp_path / "checkpoint")
    pair = Pair(load(source, tmp_path / "checkpoint"), load(ported, tmp_path / "checkpoint"), config, tmp_path)
    one, other = pair.both(lambda model: model(**pair.padded((9, 4))).logits[:, -1])
    torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-5)
    asked = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    one, other = pair.both(lambda model: model.generate(**pair.padded((9, 4)), **asked))
    assert torch.equal(one, other)


FROM_BART = [
    ("current_states = key_value_states if is_cross_attention else hidden_states", "current_states = key_value_states"),
    ("curr_past_key_values = past_key_values\n", "curr_past_key_values = past_key_values.self_attention_cache\n"),
    ("key_states = self.k_proj(current_states)", "key_states = self.v_proj(current_states)"),
    ("scaling=self.scaling,", "scaling=1.0,"),
    ("attn_weights = nn.functional.softmax(attn_weights, dim=-1)", "attn_weights = attn_weights.softmax(dim=-2)"),
    ("query_states = self.q_proj(hidden_states).view(hidden_shape)", "query_states = 2 * self.q_proj(hidden_states)"),
    ("        attention_mask = create_causal_mask(", "        if self.training: attention_mask = create_causal_mask("),
    ("        attention_mask = create_causal_mask(", "        encoder_attention_mask = create_causal_mask("),
]


@pytest.mark.parametrize(("old", "new"), FROM_BART, ids=[new.strip()[:40] for _, new in FROM_BART])
def test_another_computation_keeps_its_attention(old, new):
    text = text_of("bart")
    assert old in text
    outcome = convert_text(text.replace(old, new), model="bart")
    assert isinstance(outcome, Refused) or KERNEL not in outcome.code

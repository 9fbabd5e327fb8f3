"""Decoders that write their attention out: in a method, or in two branches, one of which biases scores."""

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
from tests.engine.sources import convert_text, text_of

KERNEL = "torch_npu.npu_fused_infer_attention_score("


def opened_of(model: str, folder):
    source = load_source(f"transformers.models.{model}")
    assert not isinstance(source, Refused)
    result = convert(source, name=model)
    assert isinstance(result, Ported)
    assert {site.status for site in result.sites} == {"ported", "verdict"}
    emit(result, folder)
    opened = open_to_compare(folder)
    assert not isinstance(opened, Refused)
    return opened


@pytest.fixture(scope="module")
def falcon(tmp_path_factory):
    return opened_of("falcon", tmp_path_factory.mktemp("written") / "falcon")


@pytest.mark.parametrize("model", ["gptj", "codegen"])
def test_every_site_is_ported_or_right_as_it_is_and_computes_the_source(model, tmp_path):
    opened_of(model, tmp_path / model)
    checks = verify(tmp_path / model, quick=True)
    assert not isinstance(checks, Refused)
    assert [check for check in checks if check.failed] == []
    assert sum(check.passed for check in checks) >= 20


@pytest.mark.parametrize(
    "heads",
    [
        {"multi_query": True, "new_decoder_architecture": False},
        {"multi_query": False, "new_decoder_architecture": False},
        {"new_decoder_architecture": True, "num_kv_heads": 2},
        {"new_decoder_architecture": True, "num_kv_heads": 4, "num_ln_in_parallel_attn": 1},
        {"multi_query": True, "new_decoder_architecture": False, "parallel_attn": False, "bias": True},
    ],
    ids=str,
)
def test_heads_of_keys_stay_as_few_as_they_are(falcon, tmp_path, heads):
    source, ported = falcon.load_source_class(), falcon.load_class()
    config = tiny_config(source.config_class, num_attention_heads=4, **heads)
    write_checkpoint(source, config, tmp_path / "checkpoint")
    pair = Pair(load(source, tmp_path / "checkpoint"), load(ported, tmp_path / "checkpoint"), config, tmp_path)
    one, other = pair.both(lambda model: model(**pair.padded((9, 4))).logits[:, -1])
    torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-5)
    asked = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    one, other = pair.both(lambda model: model.generate(**pair.padded((9, 4)), **asked))
    assert torch.equal(one, other)
    few = {True: 1, False: 4}[config.multi_query] if not config.new_decoder_architecture else config.num_kv_heads
    cache = pair.port(**pair.padded((9, 4)), use_cache=True).past_key_values
    assert cache.layers[0].keys.shape[2] == few


def test_a_configuration_that_biases_scores_is_an_error_and_so_is_a_bias(falcon):
    cls = falcon.load_class()
    with pytest.raises(ValueError, match="has no ALiBi"):
        cls(tiny_config(cls.config_class, alibi=True))
    model = cls(tiny_config(cls.config_class)).eval()
    with pytest.raises(ValueError, match="takes no bias of scores"):
        model.transformer.h[0](torch.zeros(1, 3, 64), torch.zeros(4, 1, 3), None)


@pytest.mark.parametrize("model", ["falcon", "gptj"])
def test_flash_attention_is_refused_and_not_built(model, falcon, tmp_path):
    cls = (falcon if model == "falcon" else opened_of(model, tmp_path / model)).load_class()
    with pytest.raises((ValueError, ImportError)):
        cls._from_config(tiny_config(cls.config_class), attn_implementation="flash_attention_2")


CASES = [
    ("gptj", "attn_weights = attn_weights / self.scale_attn", "attn_weights = attn_weights * self.scale_attn"),
    ("gptj", "nn.functional.softmax(attn_weights, dim=-1)", "nn.functional.softmax(attn_weights, dim=-2)"),
    ("gptj", "        key = key.permute(0, 2, 1, 3)\n", "        key = key.permute(0, 2, 3, 1)\n"),
    ("gptj", "            return tensor.permute(0, 2, 1, 3)  #", "            return tensor.permute(0, 2, 3, 1)  #"),
    ("gptj", "self.num_attention_heads, self.head_dim, False)", "self.num_attention_heads, self.head_dim, True)"),
    ("falcon", "attention_scores /= math.sqrt(self.head_dim)", "attention_scores /= self.head_dim"),
    ("falcon", "query = qkv[:, :, :, :-2]", "query = qkv[:, :, :, 2:]"),
    ("falcon", "return fused_qkv[..., :-2, :], fused", "return fused_qkv[..., 2:, :], fused"),
    ("falcon", "            if causal_mask.dtype == torch.bool:", "            if causal_mask.dtype != torch.bool:"),
    ("falcon", "        hidden_states = inputs_embeds\n", "        hidden_states = causal_mask * inputs_embeds\n"),
]


@pytest.mark.parametrize(("model", "old", "new"), CASES, ids=[f"{model} {new.strip()[:40]}" for model, _, new in CASES])
def test_another_computation_keeps_its_attention(model, old, new):
    text = text_of(model)
    assert old in text
    outcome = convert_text(text.replace(old, new), model=model)
    assert isinstance(outcome, Refused) or KERNEL not in outcome.code


def test_a_table_of_two_attentions_is_read_but_for_what_no_port_runs():
    """Under another name the second class is one of the model's, and its use of the projections keeps them."""
    text = text_of("gptj").replace('"flash_attention_2": GPTJ', '"paged": GPTJ')
    outcome = convert_text(text, model="gptj")
    assert isinstance(outcome, Refused) or KERNEL not in outcome.code

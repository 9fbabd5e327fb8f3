"""Attention that no kernel computes, over a static KV cache: its masks hide empty slots and windows."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from porter.diagnostics import Refused
from porter.emit import emit
from porter.runtime import NpuPreTrainedModel, StaticKVCache, left_pad, position_ids_from_mask
from porter.runtime.cache_name import with_cache
from porter.verify.capture import capture
from porter.verify.pair import load, write_checkpoint
from porter.verify.parity import verify
from porter.verify.port import open_to_compare
from porter.verify.tiny import tiny_config
from tests.engine.sources import port as ported_text
from tests.engine.sources import port_of, rules_of, varied
from tests.error_rule import model_roundings, no_further, truth_of

MODELS = ["gemma2", "vaultgemma", "codegen"]
KERNEL = "torch_npu.npu_fused_infer_attention_score("
OVER_SLOTS = {"attention_capped_over_slots", "attention_of_wide_queries_over_slots"}
WINDOW, PROMPTS, STEPS = 5, (9, 4), 6


class Both:
    """Source and port of one checkpoint, eager attention for the source; windows of 5 where layers have windows."""

    def __init__(self, model: str, folder) -> None:
        self.folder = folder / "port"
        emit(port_of(model), self.folder)
        opened = open_to_compare(self.folder)
        assert not isinstance(opened, Refused)
        self.source_class, self.port_class = opened.load_source_class(), opened.load_class()
        window = {"sliding_window": WINDOW} if model != "codegen" else {}
        self.config = tiny_config(self.source_class.config_class, **window)
        self.checkpoint = folder / "checkpoint"
        write_checkpoint(self.source_class, self.config, self.checkpoint)

    def load(self, dtype=torch.float32):
        return [load(each, self.checkpoint).to(dtype) for each in (self.source_class, self.port_class)]

    def padded(self, lengths=PROMPTS):
        torch.manual_seed(3)
        prompts = [torch.randint(3, self.config.vocab_size, (length,)).tolist() for length in lengths]
        ids, mask = left_pad(prompts, pad_token_id=0)
        return {"input_ids": ids, "attention_mask": mask}


@pytest.fixture(scope="module", params=MODELS)
def both(request, tmp_path_factory):
    return Both(request.param, tmp_path_factory.mktemp(request.param))


def logits_of_steps(model, inputs, tokens, cache=None, step=None):
    """(B, 1 + STEPS, V): of the last of a padded prompt and of each of `tokens` (B, STEPS) behind it."""
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    found = []
    for number in range(tokens.shape[1] + 1):
        seen = ids.shape[1] + number
        filled = torch.nn.functional.pad(mask, (0, number), value=1)
        given = {"input_ids": tokens[:, number - 1 : number] if number else ids, "attention_mask": filled}
        positions = position_ids_from_mask(filled)
        given["position_ids"] = positions[:, -1:].contiguous() if number else positions  # one stride, one graph
        if isinstance(cache, StaticKVCache) and step is not None:
            cache.reserve(given["input_ids"].shape[1])
            given["attention_mask"] = torch.nn.functional.pad(filled, (0, cache.max_cache_len - seen), value=1)
        output = (model if step is None else step)(**given, **with_cache(model, cache), use_cache=True)
        cache = cache if cache is not None else output.past_key_values
        found.append(output.logits[:, -1])
    return torch.stack(found, dim=1)


def tokens_for(both):
    torch.manual_seed(4)
    return torch.randint(3, both.config.vocab_size, (len(PROMPTS), STEPS))


def spoilt(model, slots):
    """A cache whose slots hold what no mask may show, and which counts no token."""
    cache = StaticKVCache(model.config, slots)
    with torch.no_grad():
        model(torch.full((len(PROMPTS), slots), 5), **with_cache(model, cache), use_cache=True)
    cache.set_length(0)
    for layer in cache.layers:
        layer.keys.fill_(30.0)
        layer.values.fill_(1000.0)
    return cache


def test_the_products_stay_and_the_cache_is_the_port_s(both):
    ported = port_of(both.port_class.config_class.model_type)
    assert KERNEL not in ported.code and rules_of(ported) & OVER_SLOTS
    assert issubclass(both.port_class, NpuPreTrainedModel)
    assert {site.status for site in ported.sites} == {"ported", "verdict"}


@torch.no_grad()
def test_padded_prompts_past_the_window_go_on_with_the_source_s_tokens(both):
    source, port = both.load()
    inputs = both.padded()
    asked = {**inputs, "max_new_tokens": 3 * WINDOW, "min_new_tokens": 3 * WINDOW, "do_sample": False}
    assert torch.equal(port.generate(**asked), source.generate(**asked))


@torch.no_grad()
@pytest.mark.parametrize("lengths", [PROMPTS, (9, 9)], ids=["padded", "equally long"])
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "a graph"])
def test_what_lies_in_slots_without_a_token_is_never_seen(both, compiled, lengths):
    torch._dynamo.reset()
    source, port = both.load()
    inputs, tokens = both.padded(lengths), tokens_for(both)
    theirs = logits_of_steps(source, inputs, tokens)
    step = torch.compile(port, fullgraph=True, dynamic=False, backend="eager") if compiled else None
    ours = logits_of_steps(port, inputs, tokens, spoilt(port, 32), step)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def sizes(config):
    names = ("hidden_size", "num_attention_heads", "num_hidden_layers")
    between = getattr(config, "n_inner", None) or getattr(config, "intermediate_size", 4 * config.hidden_size)
    return SimpleNamespace(**{name: getattr(config, name) for name in names}, intermediate_size=between)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_logits_over_slots_are_as_near_to_the_truth_as_the_source_s(both, dtype):
    source, port = both.load(dtype)
    inputs, tokens = both.padded(), tokens_for(both)
    ours, theirs = logits_of_steps(port, inputs, tokens, spoilt(port, 32)), logits_of_steps(source, inputs, tokens)
    whole = torch.cat((inputs["input_ids"], tokens), dim=1)
    mask = torch.nn.functional.pad(inputs["attention_mask"], (0, STEPS), value=1)
    truth = truth_of(source)(
        whole, attention_mask=mask, position_ids=position_ids_from_mask(mask)
    ).logits[:, -STEPS - 1 :]
    no_further(ours, theirs, truth, model_roundings(sizes(both.config), max(PROMPTS) + STEPS))


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bool, torch.float32], ids=str)
def test_a_4d_mask_of_the_caller_s_covers_the_tokens_alone(both, dtype):
    source, port = both.load()
    ids = both.padded()["input_ids"][:, -4:]
    shown = torch.ones(len(ids), 1, 4, 4).tril().bool()
    shown[:, :, 2:, 1] = False
    additive = torch.zeros(shown.shape).masked_fill(~shown, torch.finfo(torch.float32).min)
    mine = shown if dtype is torch.bool else additive
    cache = spoilt(port, 16)
    ours = port(ids, attention_mask=mine, **with_cache(port, cache), use_cache=True).logits
    torch.testing.assert_close(ours, source(ids, attention_mask=additive).logits, rtol=1e-5, atol=1e-5)


def test_a_decode_step_is_one_graph_that_stays(both):
    checks = capture(both.folder)
    assert not isinstance(checks, Refused)
    assert [check for check in checks if not check.passed] == []
    assert {"graphs of a decode step", "recompiles", "host reads in the graphs"} <= {check.name for check in checks}


def test_every_check_of_parity_passes(both):
    checks = verify(both.folder, quick=True)
    assert not isinstance(checks, Refused)
    assert [check for check in checks if check.failed] == []
    assert sum(check.passed for check in checks) >= 20


def test_what_it_cannot_is_an_error(both):
    _, port = both.load()
    ids = torch.full((1, 4), 5)
    with pytest.raises(ValueError, match="output_attentions"):
        port(ids, output_attentions=True)
    with pytest.raises(ValueError, match="flash_attention_2"):
        port.set_attn_implementation("flash_attention_2")
    port.config.is_causal = False  # transformers asks the configuration for masks that see later tokens
    with pytest.raises(ValueError, match="is_causal"):
        port(ids)


CAPPED = [
    ("softcap=self.attn_logit_softcapping,", "softcap=self.attn_logit_softcapping, s_aux=self.sinks,"),
    ("attn_weights = torch.tanh(attn_weights)", "attn_weights = torch.sin(attn_weights)"),
    ("attn_weights = attn_weights + attention_mask", "attn_weights = attn_weights * attention_mask"),
    ("update(key_states, value_states", "update(key_states * 2, value_states"),
    ("            attention_mask,\n            dropout", "            attention_mask * 2,\n            dropout"),
]
WIDE = [
    ("layer_past.update(key.to(hidden_states.dtype), value", "layer_past.update(key, value"),
    ("self._attn(query, key, value, attention_mask)", "self._attn(query, key, value, attention_mask * 2)"),
    ("attn_weights = attn_weights + attention_mask", "attn_weights = attn_weights - attention_mask"),
    ("nn.Softmax(dim=-1)(attn_weights)", "nn.Softmax(dim=-2)(attn_weights)"),
]


@pytest.mark.parametrize(
    ("model", "old", "new"),
    [("gemma2", *pair) for pair in CAPPED] + [("codegen", *pair) for pair in WIDE],
    ids=[new.strip() for _, new in CAPPED + WIDE],
)
def test_another_computation_keeps_the_source_s_cache(model, old, new):
    ported = ported_text(varied((old, new), model=model), model=model)
    assert not rules_of(ported) & OVER_SLOTS
    assert "DynamicCache(" in ported.code and "NpuPreTrainedModel" not in ported.code

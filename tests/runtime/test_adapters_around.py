"""An adapter on a module that holds a port, and on a part of a port: exact as on the source, or refused."""

import peft
import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from porter.runtime import put_together
from tests.runtime.adapter_kinds import (
    IDS,
    KINDS,
    RARER,
    assert_same_file,
    error,
    is_merged,
    load_on,
    logits,
    lora,
    put_on,
    tokens,
    write_adapter,
)
from tests.runtime.conftest import SIZES


class Around(nn.Module):
    """A module that calls a model, as wrappers for rewards, values and classes do."""

    def __init__(self, model):
        super().__init__()
        self.inner = model

    def forward(self, **inputs):
        return self.inner(**inputs)


def around(pair, depth=1):
    for _ in range(depth):
        pair = tuple(map(Around, pair))
    return pair


OF_ANY_MODULE = ["LoRA on up alone", "LoRA on all linears", "LoRA by a regex", "LoRA on one layer", "LoRA by parameter"]
OF_ANY_MODULE += ["LoRA of several ranks", "LoRA and all biases", "LoRA and a saved MLP", "DoRA", "PiSSA", "IA3"]


@pytest.mark.parametrize("kind", [*OF_ANY_MODULE, "VeRA", "RandLoRA", "SHiRA"])
def test_a_fresh_adapter(pairs, kind):
    source, port = around(pairs("llama"))
    plain, make = logits(source), (KINDS | RARER)[kind]
    made, tuned = put_on(source, make()), put_on(port, make())
    assert error(logits(made), plain) > 0.1 and error(logits(tuned), logits(made)) < 1e-5
    want = logits(made.merge_and_unload())
    assert error(logits(tuned.merge_and_unload()), want) < 1e-5


@pytest.mark.parametrize("depth", [1, 3])
def test_an_adapter_that_is_loaded_merged_and_saved(pairs, depth, tmp_path):
    source, port = around(pairs("qwen2"), depth)
    made = write_adapter(source, lora(), tmp_path / "made")
    tuned = load_on(port, tmp_path / "made")
    assert error(logits(tuned), logits(made)) < 1e-5
    tuned.save_pretrained(tmp_path / "saved")
    assert_same_file(tmp_path / "made", tmp_path / "saved", "adapter_model.safetensors")
    merged, want = tuned.merge_and_unload(), made.merge_and_unload()
    for _ in range(depth):
        merged, want = merged.inner, want.inner
    for name in ("apart", "together"):
        assert error(logits(merged), logits(want)) < 1e-5 and torch.equal(tokens(merged), tokens(want))
        merged.save_pretrained(tmp_path / name)
        want.save_pretrained(tmp_path / "source")
        assert_same_file(tmp_path / "source", tmp_path / name, "model.safetensors")
        put_together(merged)
    assert is_merged(merged)


@pytest.mark.parametrize("way", ["injected", "mixed", "in a list"])
def test_other_ways_to_put_it_on(pairs, way):
    found = []
    for model in pairs("llama"):
        torch.manual_seed(3)
        if way == "injected":
            tuned = peft.inject_adapter_in_model(lora(init_lora_weights=False), Around(model))
        elif way == "mixed":
            tuned = peft.get_peft_model(Around(model), lora(init_lora_weights=False), mixed=True)
        else:
            tuned = peft.inject_adapter_in_model(lora(init_lora_weights=False), nn.ModuleList([model]))[0]
        found.append(logits(tuned.eval()))
    assert error(found[0], logits(pairs("llama")[0])) > 0.1 and error(found[1], found[0]) < 1e-5


def test_two_ports_in_one_module(pairs):
    class Both(nn.Module):
        def __init__(self, one, other):
            super().__init__()
            self.one, self.other = one, other

        def forward(self, **inputs):
            return self.one(**inputs), self.other(**inputs)

    sources, ports = ((pairs("llama")[at], pairs("qwen2")[at]) for at in (0, 1))
    made, tuned = (put_on(Both(*models), lora()) for models in (sources, ports))
    with torch.no_grad():
        for ours, theirs in zip(tuned(input_ids=IDS), made(input_ids=IDS), strict=True):
            assert error(ours.logits, theirs.logits) < 1e-5


def test_the_decoder_of_a_port(pairs):
    found = []
    for model in pairs("llama"):
        put_on(model.model, lora())
        found.append(logits(model))
    assert error(found[0], logits(pairs("llama")[0])) > 0.1 and error(found[1], found[0]) < 1e-5


def test_one_layer_of_a_port_is_refused_before_a_token(pairs):
    _, port = pairs("llama")
    put_on(port.model.layers[1], lora())
    for attempt in (logits, tokens):
        with pytest.raises(RuntimeError, match=r"`model.layers.0.self_attn.qkv` is one projection, which it passed by"):
            attempt(port)


def test_an_adapter_of_a_deeper_model_is_refused(pairs, tmp_path):
    _, port = around(pairs("llama"))
    write_adapter(Around(LlamaForCausalLM(LlamaConfig(**{**SIZES, "num_hidden_layers": 5}))), lora(), tmp_path)
    with pytest.raises(ValueError, match=r"layers\.[34]\..* would be dropped"):
        load_on(port, tmp_path)


def test_hooks_on_a_merged_projection_are_not_lost(pairs):
    _, port = around(pairs("llama"))
    port.inner.model.layers[1].self_attn.qkv.register_forward_hook(lambda *_: None)
    with pytest.raises(RuntimeError, match=r"layers.1.self_attn.qkv` has hooks"):
        put_on(port, lora())
    assert is_merged(port.inner)


def test_whoever_else_lists_the_modules_changes_nothing(pairs):
    _, port = around(pairs("llama"))
    before = [name for name, _ in port.named_modules()]
    list(port.parameters()), port.state_dict(), port.to(torch.float64), repr(port)
    assert is_merged(port.inner) and [name for name, _ in port.named_modules()] == before


@pytest.mark.parametrize("strict", [True, False])
def test_the_state_of_the_source_in_the_same_module_fills_it(pairs, strict):
    source, port = around(pairs("qwen2"))
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    assert error(logits(port), logits(source)) > 0.1
    state = source.state_dict()
    found = port.load_state_dict(state, strict=strict)
    assert not found.missing_keys and not found.unexpected_keys and error(logits(port), logits(source)) < 1e-5
    del state["inner.model.layers.1.self_attn.k_proj.weight"]
    with pytest.raises(RuntimeError, match=r"layers.1.self_attn.q_proj.weight` and 1 more would be dropped"):
        port.load_state_dict(state, strict=strict)

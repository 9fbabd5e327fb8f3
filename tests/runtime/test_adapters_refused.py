"""Adapters that would be half of what they say on a port: refused before a token, and the port is what it was."""

import peft
import pytest
import torch
from torch.nn.utils.parametrize import register_parametrization
from torch.nn.utils.prune import custom_from_mask
from transformers import LlamaConfig, LlamaForCausalLM

from porter.runtime import put_together
from tests.runtime.adapter_kinds import IDS, error, is_merged, load_on, logits, lora, write_adapter
from tests.runtime.conftest import SIZES


@pytest.mark.parametrize("way", ["PeftModel", "load_adapter"])
def test_an_adapter_of_a_deeper_model_is_refused(pairs, way, tmp_path):
    source, port = pairs("llama")
    plain = logits(source)
    deeper = LlamaForCausalLM(LlamaConfig(**{**SIZES, "num_hidden_layers": 5, "attention_bias": True}))
    write_adapter(deeper, lora(), tmp_path)
    with pytest.raises(ValueError, match=r"layers\.[34]\..* and 27 more would be dropped"):
        load_on(port, tmp_path) if way == "PeftModel" else port.load_adapter(tmp_path)
    assert error(logits(port), plain) < 1e-5


@pytest.mark.parametrize("targets", [["query_key_value"], ["qkv"], r".*W_pack"])
def test_a_target_that_is_not_there_is_refused_and_the_port_works_on(pairs, targets, tmp_path):
    source, port = pairs("llama")
    with pytest.raises(ValueError, match="not found in the base model"):
        peft.get_peft_model(port, lora(targets))
    assert error(logits(port), logits(source)) < 1e-5
    put_together(port)
    assert is_merged(port) and error(logits(port), logits(source)) < 1e-5
    port.save_pretrained(tmp_path)
    assert error(logits(LlamaForCausalLM.from_pretrained(tmp_path)), logits(source)) < 1e-5


def test_a_peft_that_does_not_ask_first_is_refused(pairs):
    _, port = pairs("llama")
    with pytest.raises(RuntimeError, match=r"`model.layers.0.self_attn.qkv` is still one projection"):
        port.peft_config = {"default": lora()}
    with pytest.raises(AttributeError, match="no adapters"):
        del port.peft_config
    assert is_merged(port)


def test_hooks_on_a_merged_projection_are_not_lost(pairs):
    _, port = pairs("llama")
    port.model.layers[1].self_attn.qkv.register_forward_hook(lambda *_: None)
    with pytest.raises(RuntimeError, match=r"layers.1.self_attn.qkv` has hooks"):
        peft.get_peft_model(port, lora())
    assert is_merged(port)


class Halved(torch.nn.Module):
    def forward(self, weight):
        return weight / 2


def parametrized(port):
    register_parametrization(port.model.layers[1].self_attn.qkv, "weight", Halved())


class Int8Linear(torch.nn.Linear):
    pass


def quantized(port):
    for layer in port.model.layers:
        layer.self_attn.qkv.__class__ = Int8Linear


def exchanged(port):
    port.model.layers[1].self_attn.qkv = torch.nn.Sequential(port.model.layers[1].self_attn.qkv)


def pruned(port):
    custom_from_mask(port.model.layers[1].mlp.gate_up, "weight", torch.ones(96, 32) / 2)


@pytest.mark.parametrize("change", [parametrized, quantized, exchanged, pruned])
@pytest.mark.parametrize("way", ["PeftModel", "load_adapter"])
def test_rows_of_what_is_no_plain_linear_are_not_taken(pairs, change, way, tmp_path):
    source, port = pairs("llama")
    write_adapter(source, lora(), tmp_path)
    change(port)
    before = logits(port)
    with pytest.raises(RuntimeError, match=r"(qkv|gate_up)` (is a \w+ by now|has hooks)"):
        load_on(port, tmp_path) if way == "PeftModel" else port.load_adapter(tmp_path)
    assert torch.equal(logits(port), before)


def test_offloaded_weights_are_refused(pairs, tmp_path):
    source, port = pairs("llama")
    write_adapter(source, lora(), tmp_path / "adapter").unload()
    port.save_pretrained(tmp_path / "checkpoint")
    parts = ["embed_tokens", "layers.0", "layers.1", "layers.2", "norm", "rotary_emb"]
    places = {f"model.{part}": "disk" if part == "layers.1" else "cpu" for part in parts} | {"lm_head": "cpu"}
    offloaded = type(port).from_pretrained(
        tmp_path / "checkpoint", device_map=places, offload_folder=tmp_path / "offload"
    )
    with pytest.raises(RuntimeError, match=r"layers.1.self_attn.qkv` is offloaded"):
        load_on(offloaded, tmp_path / "adapter")


def test_one_part_of_a_merge_is_not_dropped_in_silence(pairs):
    source, port = pairs("llama")
    part = {key: value for key, value in source.state_dict().items() if "q_proj" in key}
    with pytest.raises(ValueError, match=r"q_proj.weight` and 5 more would be dropped"):
        port.load_state_dict(part, strict=False)


def test_training_is_refused_at_the_first_gradient(pairs):
    _, port = pairs("llama")
    tuned = peft.get_peft_model(port, lora())
    with pytest.raises(NotImplementedError, match="a port is for inference: train the source model"):
        tuned(input_ids=IDS, labels=IDS).loss.backward()

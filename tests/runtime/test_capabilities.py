"""What a port declares is true of it; what it cannot do is an error or a warning where it is asked for."""

import copy

import pytest
import torch
from transformers import LlamaForCausalLM

from porter.runtime import load_model_class
from tests.runtime.shipped import IDS, MODELS, greedy, source_and_port

WITHDRAWN = ["_supports_flash_attn", "_supports_flex_attn", "_supports_attention_backend", "_can_compile_fullgraph"]


@pytest.fixture(scope="module")
def models():
    return source_and_port()


@pytest.mark.parametrize("name", [*WITHDRAWN, "supports_gradient_checkpointing"])
def test_no_class_of_a_port_declares_what_it_cannot_do(models, name):
    source, port = models
    for theirs, ours in ((source, port), (source.model, port.model)):
        assert getattr(theirs, name) and not getattr(ours, name)
    assert getattr(LlamaForCausalLM, name)  # the source's class stays as it is


def test_a_port_can_sdpa_s_states_and_has_no_plan_to_shard_by(models):
    source, port = models
    assert port._supports_sdpa and port.config._attn_implementation == "sdpa"
    assert source.tp_plan and source.model.tp_plan
    assert not port.tp_plan and not port.model.tp_plan and not port.ep_plan


OTHERS = ["flash_attention_2", "flash_attention_3", "flex_attention", "paged|sdpa", "paged|eager", "my/kernel"]


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("way", ["set", "config", "from_pretrained"])
def test_another_attention_is_an_error(models, tmp_path, name, way):
    source, port = models
    with pytest.raises(ValueError, match=r"attn_implementation=.* in the one way"):
        if way == "set":
            port.set_attn_implementation(name)
        elif way == "config":
            config = copy.deepcopy(port.config)
            config._attn_implementation = name
            type(port)(config)
        else:
            source.save_pretrained(tmp_path)
            load_model_class("llama2", MODELS).from_pretrained(tmp_path, attn_implementation=name)
    assert port.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("name", ["sdpa", "eager"])
def test_sdpa_and_eager_are_what_a_port_computes(models, tmp_path, name):
    source, _ = models
    source.save_pretrained(tmp_path)
    port = load_model_class("llama2", MODELS).from_pretrained(tmp_path, attn_implementation=name)
    assert torch.equal(greedy(source), greedy(port))
    port.set_attn_implementation("eager" if name == "sdpa" else "sdpa")
    assert torch.equal(greedy(source), greedy(port))


def test_eager_is_said_to_change_nothing(models, monkeypatch):
    said = []
    monkeypatch.setattr("porter.runtime.capabilities.logger.warning_once", said.append)
    models[1].set_attn_implementation("eager")
    assert len(said) == 1 and "no attention weights" in said[0]


def test_training_is_an_error():
    _, port = source_and_port()
    with pytest.raises(ValueError, match="does not support"):
        port.gradient_checkpointing_enable()
    port.train()
    with pytest.raises(NotImplementedError, match="a port is for inference"):
        port(IDS, labels=IDS).loss.backward()


@pytest.mark.parametrize("asked", ["tp_plan", "output_attentions", "output_attentions of generate"])
def test_what_is_asked_in_a_call_is_an_error(models, tmp_path, asked):
    source, port = models
    if asked == "tp_plan":
        source.save_pretrained(tmp_path)
        with pytest.raises(ValueError, match="tp_plan: a port"):
            load_model_class("llama2", MODELS).from_pretrained(tmp_path, tp_plan="auto")
    elif asked == "output_attentions":
        with pytest.raises(ValueError, match="gives no weights out"):
            port(IDS, output_attentions=True)
    else:
        with pytest.raises(ValueError, match="gives no weights out"):
            greedy(port, output_attentions=True, return_dict_in_generate=True)


@pytest.mark.parametrize("device_map", ["cpu", {"": "cpu"}, "auto"], ids=str)
def test_a_device_map_works_as_on_the_source(models, tmp_path, device_map):
    source, _ = models
    source.save_pretrained(tmp_path)
    port = load_model_class("llama2", MODELS).from_pretrained(tmp_path, device_map=device_map)
    assert torch.equal(greedy(source), greedy(port))


def test_a_device_map_with_layers_on_the_disk(models, tmp_path):
    source, _ = models
    source.save_pretrained(tmp_path / "checkpoint")
    places = {"model.embed_tokens": "cpu", "model.norm": "cpu", "model.rotary_emb": "cpu", "lm_head": "cpu"}
    places |= {f"model.layers.{index}": "disk" if index in (1, 3) else "cpu" for index in range(4)}
    port = load_model_class("llama2", MODELS).from_pretrained(
        tmp_path / "checkpoint", device_map=places, offload_folder=tmp_path / "offloaded"
    )
    assert torch.equal(greedy(source), greedy(port))


def test_generation_with_a_static_cache_does_not_compile(models, monkeypatch):
    source, port = models
    monkeypatch.setattr(type(port), "get_compiled_call", lambda *_: pytest.fail("compiled"))
    assert torch.equal(greedy(source), greedy(port, cache_implementation="static"))


@torch.no_grad()
def test_what_the_sources_attention_would_compute_beside_is_refused(models):
    source, port = models
    wanted = source(IDS).logits
    assert not torch.equal(source(IDS, is_causal=False).logits, wanted)  # it is no idle argument there
    assert torch.allclose(port(IDS, is_causal=True).logits, wanted, atol=1e-5)
    for asked in (
        {"is_causal": False},
        {"position_bias": torch.zeros(1)},
        {"softcap": 30.0},
        {"s_aux": torch.zeros(4)},
    ):
        for model in (port, port.model):
            with pytest.raises(ValueError, match="|".join(asked)):
                model(IDS, **asked)


def test_eager_is_not_spoken_of_where_there_is_no_other(models, monkeypatch):
    said = []
    monkeypatch.setattr("porter.runtime.capabilities.logger.warning_once", said.append)
    monkeypatch.setattr(type(models[1]), "_supports_sdpa", False)
    models[1].set_attn_implementation("eager")
    assert not said

"""Adapters of the source, put on a port by PEFT as it is: exact, alive and merged and saved, or refused."""

import copy
import functools
import io

import peft
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from porter.convert import convert
from porter.diagnostics import Refused
from porter.emit import emit
from porter.runtime import block_products, load_model_class, put_together
from porter.source import load_source
from tests.runtime.adapter_kinds import KINDS, SEVEN, load_on, lora, put_on, write_adapter

IDS = torch.tensor([[5, 9, 3, 7, 8, 41, 2], [44, 3, 12, 9, 5, 6, 33]])
SIZES = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": None,
}
SOURCES = {
    "llama": (LlamaForCausalLM, LlamaConfig, {"attention_bias": True}),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config, {"head_dim": 16}),
}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """By name: makes a source and its port, both from one checkpoint, where every bias and norm counts."""

    def make(name):
        folder, port_class = prepared(name)
        return SOURCES[name][0].from_pretrained(folder).eval(), port_class.from_pretrained(folder).eval()

    @functools.cache
    def prepared(name):
        root = tmp_path_factory.mktemp(name)
        ported = convert(load_source(f"transformers.models.{name}"), name=name)
        assert not isinstance(ported, Refused) and not isinstance(emit(ported, root / "models" / name), Refused)
        source_class, config_class, options = SOURCES[name]
        torch.manual_seed(0)
        source = source_class(config_class(**SIZES, **options))
        with torch.no_grad():
            for parameter in source.parameters():
                if parameter.ndim == 1:
                    parameter.add_(torch.randn_like(parameter) * 0.2)
        source.save_pretrained(root / "checkpoint")
        return root / "checkpoint", load_model_class(name, root / "models")

    return make


@torch.no_grad()
def logits(model, ids=IDS, **options):
    return model(input_ids=ids, **options).logits


def tokens(model):
    return model.generate(input_ids=IDS, attention_mask=torch.ones_like(IDS), max_new_tokens=12, do_sample=False)


def error(ours, theirs):
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def assert_same_file(one, other, name):
    one, other = (load_file(folder / name) for folder in (one, other))
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def is_merged(port):
    layer = port.get_decoder().layers[0]
    children = [*dict(layer.self_attn.named_children()), *dict(layer.mlp.named_children())]
    return "qkv" in children and "gate_up" in children and not set(SEVEN[:3]) & set(children)


# every kind on one model, and those that q, k and v with biases may take otherwise on another
ON_QWEN2 = [kind for kind in KINDS if kind in ("LoRA on all seven", "LoRA on q and v", "DoRA", "IA3") or "bias" in kind]


CASES = [*(("llama", kind) for kind in KINDS), *(("qwen2", kind) for kind in ON_QWEN2)]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_an_adapter_of_the_source_is_on_the_port_what_it_is_there(pairs, kind, name, tmp_path):
    source, port = pairs(name)
    plain, parameters = logits(source), {key: value.shape for key, value in port.named_parameters()}
    made = write_adapter(source, KINDS[kind](), tmp_path / "made")
    tuned = load_on(port, tmp_path / "made")
    theirs = logits(made)
    if theirs.shape == plain.shape and kind != "tokens":
        assert error(theirs, plain) > 0.1  # it does something
    assert error(logits(tuned), theirs) < 1e-5
    assert torch.equal(tokens(tuned), tokens(made))
    tuned.save_pretrained(tmp_path / "saved")
    assert_same_file(tmp_path / "made", tmp_path / "saved", "adapter_model.safetensors")
    if "prompt" in kind or "repeated" in kind:  # PEFT does not merge the first, and merges the second wrong
        return
    try:
        merged = made.merge_and_unload()
    except RuntimeError as refused:  # no bias to merge a bias into
        with pytest.raises(RuntimeError, match="lora_bias"):
            tuned.merge_and_unload()
        assert "lora_bias" in str(refused)
        return
    assert tuned.merge_and_unload() is port and is_merged(port)
    assert {key: value.shape for key, value in port.named_parameters()} == parameters
    assert error(logits(port), logits(merged)) < 1e-5 and torch.equal(tokens(port), tokens(merged))
    port.save_pretrained(tmp_path / "port")
    merged.save_pretrained(tmp_path / "source")
    assert_same_file(tmp_path / "source", tmp_path / "port", "model.safetensors")


def test_without_an_adapter_nothing_changes(pairs, tmp_path):
    source, port = pairs("llama")
    before, names = logits(port), [name for name, _ in port.named_modules()]
    layout = list(port.state_dict())
    write_adapter(source, lora(), tmp_path)
    for _ in range(2):
        unloaded = load_on(port, tmp_path).unload()
        assert torch.equal(logits(unloaded), before) and [name for name, _ in port.named_modules()] == names
        assert list(port.state_dict()) == layout and all(not tensor.is_meta for tensor in port.state_dict().values())


def test_weights_are_not_copied_on_taking_apart(pairs):
    _, port = pairs("llama")
    place = port.model.layers[0].self_attn.qkv.weight.data_ptr()
    put_on(port, lora())
    attention = port.model.layers[0].self_attn
    assert attention.q_proj.weight.data_ptr() == place
    assert [attention.get_submodule(part).out_features for part in ("q_proj", "k_proj", "v_proj")] == [32, 16, 16]


def test_modules_are_named_as_in_the_source(pairs):
    source, port = (put_on(model, lora("all-linear")) for model in pairs("qwen2"))
    ours, theirs = ([name for name, _ in model.named_modules()] for model in (port, source))
    assert ours == [name for name in theirs if not name.endswith("act_fn")]
    assert error(logits(port), logits(source)) < 1e-5  # drawn from one seed in one order


def test_several_adapters_one_at_a_time_together_and_row_by_row(pairs, tmp_path):
    source, port = pairs("llama")
    plain = logits(source)
    write_adapter(source, lora(), tmp_path / "a", seed=1).unload()
    write_adapter(source, lora(["q_proj", "v_proj"]), tmp_path / "b", seed=2).unload()
    both = [load_on(model, tmp_path / "a", adapter_name="a") for model in (source, port)]
    for tuned in both:
        tuned.load_adapter(tmp_path / "b", "b")
        tuned.add_weighted_adapter(["a", "b"], [0.7, 0.3], "c", combination_type="cat")
    for active in ("a", "b", "c", ["a", "b"]):
        for tuned in both:
            tuned.base_model.set_adapter(active)
        theirs, ours = map(logits, both)
        assert error(theirs, plain) > 0.1 and error(ours, theirs) < 1e-5, active
    for tuned in both:
        tuned.set_adapter("a")
    theirs, ours = (logits(tuned, adapter_names=["a", "b"]) for tuned in both)
    assert error(ours, theirs) < 1e-5
    with both[1].disable_adapter():
        assert error(logits(both[1]), plain) < 1e-5
    both[1].merge_adapter()
    assert error(logits(both[1]), logits(both[0])) < 1e-5
    both[1].unmerge_adapter()
    both[1].delete_adapter("b")
    assert error(logits(both[1]), logits(both[0])) < 1e-5


def test_transformers_own_methods(pairs, tmp_path):
    source, port = pairs("qwen2")
    plain = logits(source)
    want_a = logits(write_adapter(source, lora(), tmp_path / "a", seed=1))
    source, _ = pairs("qwen2")
    want_b = logits(write_adapter(source, lora(["k_proj", "up_proj"]), tmp_path / "b", seed=2))
    port.load_adapter(tmp_path / "a")
    assert error(logits(port), want_a) < 1e-5
    port.load_adapter(tmp_path / "b", adapter_name="b")
    port.set_adapter("b")
    assert error(logits(port), want_b) < 1e-5
    port.save_pretrained(tmp_path / "saved")  # the active adapter
    source, _ = pairs("qwen2")
    source.load_adapter(tmp_path / "saved")
    assert error(logits(source), want_b) < 1e-5
    port.disable_adapters()
    assert error(logits(port), plain) < 1e-5
    port.delete_adapter(["default", "b"])
    assert is_merged(port) and error(logits(port), plain) < 1e-5
    port.save_pretrained(tmp_path / "whole")
    assert error(logits(type(source).from_pretrained(tmp_path / "whole")), plain) < 1e-5


def test_copies_and_pickles_are_models_of_their_own(pairs, tmp_path):
    source, port = pairs("llama")
    want = logits(write_adapter(source, lora(), tmp_path))
    tuned = load_on(port, tmp_path)
    buffer = io.BytesIO()
    torch.save(tuned, buffer)
    buffer.seek(0)
    for other in (copy.deepcopy(tuned), torch.load(buffer, weights_only=False)):
        assert error(logits(other), want) < 1e-5
        assert error(logits(other.merge_and_unload()), want) < 1e-5
    assert error(logits(tuned), want) < 1e-5  # which the merges of its copies have not touched


def test_an_alive_adapter_compiles_into_one_graph(pairs, tmp_path):
    source, port = pairs("llama")
    want = logits(write_adapter(source, lora(), tmp_path), use_cache=False)
    load_on(port, tmp_path)
    compiled = torch.compile(port, backend="eager", fullgraph=True)
    assert error(logits(compiled, use_cache=False), want) < 1e-5


def test_weights_in_bfloat16_are_the_sources_bit_for_bit(pairs, tmp_path):
    source, port = (model.to(torch.bfloat16) for model in pairs("qwen2"))
    write_adapter(source, lora(), tmp_path / "adapter").unload()
    for model, name in ((source, "source"), (port, "port")):
        load_on(model, tmp_path / "adapter").merge_and_unload().save_pretrained(tmp_path / name)
    assert_same_file(tmp_path / "source", tmp_path / "port", "model.safetensors")


def test_products_by_blocks_stay_products_by_blocks(pairs, monkeypatch, tmp_path):
    monkeypatch.setattr("porter.runtime.products._LARGE", 1)
    monkeypatch.setattr("porter.runtime.products.ROWS", 16)
    source, port = pairs("llama")
    want = logits(write_adapter(source, lora(), tmp_path))
    assert block_products(port) == 13
    merged = load_on(port, tmp_path).merge_and_unload()
    assert error(logits(merged), want) < 1e-5 and block_products(port) == 0


# -- what cannot be exact


def test_a_foreign_cache_is_refused(pairs, tmp_path):
    source, port = pairs("llama")
    write_adapter(source, peft.PrefixTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM"), tmp_path)
    tuned = load_on(port, tmp_path)
    for attempt in (logits, tokens):
        with pytest.raises(TypeError, match="past_key_values is a DynamicCache"):
            attempt(tuned)


def test_a_kind_that_goes_around_the_modules_is_refused(pairs):
    _, port = pairs("llama")
    config = peft.AdaptionPromptConfig(adapter_len=4, adapter_layers=2, task_type="CAUSAL_LM")
    with pytest.raises(AttributeError, match="q_proj"):
        peft.get_peft_model(port, config)


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


class Around(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.inner = model

    def forward(self, **inputs):
        return self.inner(**inputs)


def test_an_adapter_of_a_module_around_the_port_is_refused(pairs, tmp_path):
    source, port = map(Around, pairs("llama"))
    write_adapter(source, lora(), tmp_path)
    with pytest.raises(ValueError, match="put on the port itself, not on a module around it"):
        load_on(port, tmp_path)


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

"""Checkpoints as users have them: each fault is one error that names it, and nothing that is missing is made up."""

import json
import re

import pytest
import torch
from transformers import LlamaForCausalLM

from porter.runner import CannotRun
from porter.runtime import load_model_class
from tests.runner.damage import (
    INDEX,
    POINTER,
    config,
    data,
    entries,
    shard,
    take_tensors,
    tensors,
    text,
    with_added,
    without,
)

Q = "model.layers.0.self_attn.q_proj.weight"
NO_PARTS = ("layers.0.self_attn.q_proj", "layers.0.self_attn.k_proj", "layers.0.self_attn.v_proj")


def index(**values):
    """Entries of the index replaced; `weight_map` is added to."""

    def change(folder):
        read = json.loads((folder / INDEX).read_text())
        read["weight_map"] |= values.pop("weight_map", {})
        (folder / INDEX).write_text(json.dumps({**read, **values}))

    return change


def another_layer(held):
    copies = {name.replace("layers.1.", "layers.2."): held[name].clone() for name in held if "layers.1." in name}
    return {**held, **copies}


WEIGHTS = {
    "a layer missing": (tensors(without("layers.1.")), "9 missing; missing: model.layers.1.input_layernorm.weight, "),
    "the last norm missing": (tensors(without("model.norm")), "1 missing; missing: model.norm.weight"),
    "the head missing": (tensors(without("lm_head")), "1 missing; missing: lm_head.weight"),
    "a part of a merged projection missing": (
        tensors(without("layers.0.self_attn.k_proj")),
        "1 missing; missing: model.layers.0.self_attn.k_proj.weight",
    ),
    "that in a .bin": (
        tensors(without("layers.1.mlp.up_proj"), "pytorch_model.bin"),
        "1 missing; missing: model.layers.1.mlp.up_proj.weight",
    ),
    "a layer missing in a .bin": (tensors(without("layers.1."), "pytorch_model.bin"), "9 missing; missing: model"),
    "a merged projection missing": (
        tensors(without(*NO_PARTS)),
        "3 missing; missing: model.layers.0.self_attn.k_proj.weight, model.layers.0.self_attn.q_proj.weight",
    ),
    "nothing in it": (tensors(lambda held: {}), "21 missing; missing: lm_head.weight, "),
    "another model's": (
        tensors(lambda held: {f"transformer.{name}": tensor for name, tensor in held.items()}),
        "21 missing, 21 unexpected",
    ),
    "biases that nobody asked for": (
        tensors(with_added(model__layers__0__self_attn__q_proj__bias=torch.ones(64))),
        f"1 unexpected; unexpected: {Q.replace('weight', 'bias')}",
    ),
    "more layers than the configuration": (
        tensors(another_layer),
        "9 unexpected; unexpected: model.layers.2.input_layernorm.weight, model.layers.2.mlp.down_proj.weight, "
        "model.layers.2.mlp.gate_proj.weight",
    ),
    "fewer layers than the configuration": (config(num_hidden_layers=3), "9 missing; missing: model.layers.2."),
    "biases in the configuration alone": (config(attention_bias=True), "8 missing"),
    "rows missing": (tensors(lambda held: {**held, Q: held[Q][:60]}), "self_attn.qkv.weight (124, 64), not (128, 64)"),
    "columns missing": (tensors(lambda held: {**held, Q: held[Q][:, :60]}), f"{Q} (64, 60), not (..., 64)"),
    "a norm of another size": (
        tensors(lambda held: {**held, "model.norm.weight": torch.ones(60)}),
        "model.norm.weight (60,), not (64,)",
    ),
    "sizes that no host holds": (config(intermediate_size=2**40), "elements, not "),
    "a hundred layers": (config(num_hidden_layers=100), "missing: model.layers.10.input_layernorm.weight"),
    "another vocabulary": (config(vocab_size=10), "lm_head.weight (768, 64), not (10, 64)"),
    "other heads": (config(num_key_value_heads=4), "self_attn.qkv.weight (128, 64), not (192, 64)"),
}


@pytest.mark.parametrize("kind", WEIGHTS)
def test_weights_that_are_not_the_ports_are_named(runner, damaged, capfd, kind):
    change, said = WEIGHTS[kind]
    change(damaged)
    with pytest.raises(CannotRun, match=re.escape(said)) as refused:
        runner(damaged).execute_model("a prompt")
    assert refused.value.diagnostic.code == "P131" and refused.value.diagnostic.help
    assert "LOAD REPORT" not in capfd.readouterr().err  # one error, not two


def test_the_port_alone_does_as_transformers_does_but_makes_up_no_part(models_folder, damaged):
    port = load_model_class("llama2", models_folder)
    held = take_tensors(damaged)
    torch.save(without("layers.0.self_attn.k_proj")(held), damaged / "pytorch_model.bin")
    with pytest.raises(RuntimeError, match=r"it lacks model\.layers\.0\.self_attn\.k_proj\.weight"):
        port.from_pretrained(damaged)
    torch.save(without("layers.1.", "model.norm")(held), damaged / "pytorch_model.bin")
    _, ours = port.from_pretrained(damaged, output_loading_info=True)
    _, theirs = LlamaForCausalLM.from_pretrained(damaged, output_loading_info=True)
    merged = {"q_proj": "qkv", "k_proj": "qkv", "v_proj": "qkv", "gate_proj": "gate_up", "up_proj": "gate_up"}
    wanted = {".".join(merged.get(part, part) for part in name.split(".")) for name in theirs["missing_keys"]}
    assert ours["missing_keys"] == wanted and len(wanted) == 7


PASSED_OVER = {
    "tied embeddings": lambda folder: (config(tie_word_embeddings=True)(folder), tensors(without("lm_head"))(folder)),
    "rotary buffers of old checkpoints": tensors(
        with_added(model__layers__1__self_attn__rotary_emb__inv_freq=torch.ones(8))
    ),
    "an index beside the one file": lambda folder: tensors(dict)(folder) or text(INDEX, "{")(folder),
}


@pytest.mark.parametrize("kind", PASSED_OVER)
def test_what_the_source_passes_over_counts_for_nothing(runner, damaged, kind):
    PASSED_OVER[kind](damaged)
    made = runner(damaged)
    (answer,) = made.execute_model("the license")
    inputs = made.tokenizer(["the license"], return_tensors="pt")
    expected = LlamaForCausalLM.from_pretrained(damaged).generate(**inputs, max_new_tokens=12)
    assert list(answer.token_ids) == expected[0, inputs["input_ids"].shape[1] :].tolist()


FILES = {
    "a shard that git-lfs did not get": (shard(lambda old: POINTER.encode()), "P132", "is a git-lfs pointer"),
    "a configuration that git-lfs did not get": (text("config.json", POINTER), "P081", "is a git-lfs pointer"),
    "a tokenizer that git-lfs did not get": (text("tokenizer.json", POINTER), "P132", "is a git-lfs pointer"),
    "a cut shard": (shard(lambda old: old[:-100]), "P132", r"model-00003-of-00006.safetensors` has \d+ bytes, by its"),
    "a cut header": (shard(lambda old: old[:20]), "P132", "is no safetensors file, or cut off: it has 20 bytes"),
    "an empty shard": (shard(lambda old: b""), "P132", "model-00003-of-00006.safetensors` is empty"),
    "a shard that is a page": (shard(lambda old: b"<!DOCTYPE html>" * 99), "P132", "is no safetensors file"),
    "a header of zeros": (shard(lambda old: old[:8] + b"0" * (len(old) - 8)), "P132", "none of safetensors"),
    "a longer shard": (shard(lambda old: old + b"0"), "P132", "by its header it has"),
    "an empty .bin": (
        lambda folder: take_tensors(folder) and text("pytorch_model.bin", "")(folder),
        "P132",
        "is empty",
    ),
    "a .bin of text": (
        lambda folder: take_tensors(folder) and text("pytorch_model.bin", "abcdefgh")(folder),
        "P132",
        "does not load as weights alone",
    ),
    "a .bin of something else": (
        lambda folder: take_tensors(folder) and torch.save({"model": {"a": 1}}, folder / "pytorch_model.bin"),
        "P132",
        "holds more than tensors by name",
    ),
    "an index that names an absent key": (
        index(weight_map={"model.extra": "model-00001-of-00006.safetensors"}),
        "P132",
        "names `model.extra`, which `model-00001-of-00006.safetensors` does not hold",
    ),
    "an index that names an absent shard": (
        index(weight_map={"model.extra": "model-00007-of-00006.safetensors"}),
        "P084",
        "lacks 1 of 7 shards: model-00007",
    ),
    "an index of nothing": (data(INDEX, {"metadata": {}, "weight_map": {}}), "P132", "names no shards"),
    "an index that leads out": (
        data(INDEX, {"metadata": {}, "weight_map": {"a": "../b"}}),
        "P132",
        "outside its folder",
    ),
    "an index that is a list": (data(INDEX, []), "P132", "is not an index of shards"),
    "an index that is cut": (text(INDEX, '{"weight'), "P132", "is not an index of shards"),
    "weights under a name that is not there": (config(transformers_weights="x.safetensors"), "P084", "for x.safet"),
    "a generation configuration that is cut": (text("generation_config.json", "{"), "P081", "generation_config.json"),
    "a tokenizer's configuration that is a list": (data("tokenizer_config.json", []), "P082", "the tokenizer in"),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_not_whole_is_named(runner, damaged, kind):
    change, code, said = FILES[kind]
    change(damaged)
    with pytest.raises(CannotRun, match=said) as refused:
        runner(damaged).execute_model("a prompt")
    assert refused.value.diagnostic.code == code and refused.value.diagnostic.help


CONFIGURATIONS = {
    "gelu": (config(hidden_act="gelu"), "npu_swiglu computes silu; this configuration asks for 'gelu'"),
    "float64": (config(dtype="float64"), "float16, bfloat16 or float32, not in float64"),
    "no dtype, float64 weights": (
        lambda folder: (
            config(dtype=None)(folder),
            tensors(lambda held: {name: tensor.double() for name, tensor in held.items()})(folder),
        ),
        "not in float64",
    ),
    "int8": (config(dtype="int8"), "not in int8"),
    "a dtype there is not": (config(dtype="float7"), "float7"),
    "a rope type there is not": (
        config(rope_parameters={"rope_type": "spiral", "rope_theta": 1e4}),
        "KeyError: 'spiral'; raised by modeling_llama.py:",
    ),
    "a rope type of old checkpoints there is not": (config(rope_scaling={"type": "spiral", "factor": 2.0}), "spiral"),
    "a word for a number": (config(hidden_size="64"), "hidden_size"),
    "heads that do not divide": (config(num_attention_heads=3), "not a multiple"),
    "layers without end": (config(num_hidden_layers=2**31), "asks for 2147483648 layers"),
    "no heads": (config(num_attention_heads=0), "ZeroDivisionError"),
    "no key-value heads": (config(num_key_value_heads=0), "makes no model of this port"),
    "a padding token outside": (config(pad_token_id=10**6), "Padding_idx"),
    "an attention there is not": (config(_attn_implementation="spiral"), "spiral"),
    "tuples": (config(return_dict=False), "generates from named outputs only"),
    "no causality": (config(is_causal=False), "what this port does not compute: is_causal=False"),
    "a window that its masks lack": (config(sliding_window=3), "the source's cache keeps fewer tokens"),
    "chunks that its masks lack": (config(attention_chunk_size=3), "the source's cache keeps fewer tokens"),
    "a layer that keeps no states": (
        config(layer_types=["linear_attention", "full_attention"]),
        "this model has linear_attention layers",
    ),
    "a window of no size": (config(layer_types=["sliding_attention", "full_attention"]), "attribute 'sliding_window'"),
}


@pytest.mark.parametrize("kind", CONFIGURATIONS)
def test_a_configuration_that_makes_no_model_is_blamed_and_nothing_else(runner, damaged, kind):
    change, said = CONFIGURATIONS[kind]
    change(damaged)
    with pytest.raises(CannotRun, match=re.escape(said)) as refused:
        runner(damaged).execute_model("a prompt")
    assert refused.value.diagnostic.code == "P133" and refused.value.diagnostic.help


@pytest.mark.parametrize("changes", [{"output_attentions": True}, {"sliding_window": 4096}], ids=str)
def test_an_entry_that_changes_no_token(runner, damaged, changes):
    expected = runner(damaged).execute_model("the license")
    config(**changes)(damaged)
    for mode in ("eager", "dynamo"):
        made = runner(damaged, backend="eager")
        made.execute_mode = mode
        assert made.execute_model("the license")[0].token_ids == expected[0].token_ids


def test_float64_weights_run_in_the_dtype_that_is_given(runner, damaged):
    config(dtype="float64")(damaged)
    (answer,) = runner(damaged, dtype=torch.float32).execute_model("the license")
    entries("config.json", dtype="float32")(damaged)
    assert answer.token_ids == runner(damaged).execute_model("the license")[0].token_ids


@pytest.mark.parametrize("names", ["LlamaForCausalLM", [1], {"a": "b"}])
def test_architectures_that_are_no_list_of_names(runner, damaged, names):
    config(architectures=names)(damaged)
    with pytest.raises(CannotRun, match="names no architectures") as refused:
        runner(damaged).execute_model("a prompt")
    assert refused.value.diagnostic.code == "P083"

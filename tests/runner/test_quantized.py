"""Quantized checkpoints, by every place that a scheme is written in: refused by its name, before a weight is read."""

import re

import pytest
import torch
from transformers import BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM

from porter.runner import CannotRun
from porter.runtime import load_model_class
from porter.runtime.quantized import QuantizedCheckpoint, check_config, mark_of
from tests.runner.damage import cast, config, data, tensors, text, with_added

SCHEMES = {
    "ascend": (config(quantization_config={"quant_method": "ascend"}), "ascend"),
    "gptq": (config(quantization_config={"quant_method": "gptq", "bits": 4}), "gptq, 4 bits"),
    "awq": (config(quantization_config={"quant_method": "awq", "bits": 4, "version": "gemm"}), "awq, 4 bits"),
    "fp8": (config(quantization_config={"quant_method": "fp8", "weight_block_size": [128, 128]}), "fp8"),
    "mxfp4": (config(quantization_config={"quant_method": "mxfp4"}), "mxfp4"),
    "bitsandbytes": (
        config(quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
        "bitsandbytes, 4 bits",
    ),
    "compressed-tensors": (
        config(quantization_config={"quant_method": "compressed-tensors", "format": "pack-quantized"}),
        "compressed-tensors",
    ),
    "a method nobody knows": (config(quantization_config={"quant_method": "someones"}), "someones"),
    "an entry without a name": (config(quantization_config={}), "of no name"),
    "nested": (config(text_config={"quantization_config": {"quant_method": "fp8"}}), "fp8"),
    "older compressed-tensors": (config(compression_config={"format": "int-quantized"}), "int-quantized"),
    "MindIE": (config(quantize="w8a8"), "w8a8"),
    "MLX": (config(quantization={"group_size": 64, "bits": 4}), "4 bits"),
    "msModelSlim": (data("quant_model_description.json", {"model_quant_type": "W8A8"}), "msModelSlim W8A8"),
    "msModelSlim, with a suffix": (
        data("quant_model_description_w8a8_dynamic.json", {"model_quant_type": "W8A8_DYNAMIC"}),
        "msModelSlim W8A8_DYNAMIC",
    ),
    "msModelSlim, by tensors": (data("quant_model_description.json", {"a.weight": "W4A16"}), "msModelSlim"),
    "ModelOpt": (data("hf_quant_config.json", {"quantization": {"quant_algo": "FP8"}}), "ModelOpt FP8"),
    "AutoGPTQ": (data("quantize_config.json", {"bits": 4, "group_size": 128}), "GPTQ 4 bits"),
    "AutoAWQ": (data("quant_config.json", {"w_bit": 4, "version": "GEMM"}), "AWQ 4 bits"),
    "a file that cannot be read": (text("quantize_config.json", "{"), "GPTQ"),
    "int8": (tensors(cast("_proj.weight", torch.int8, "weight_scale")), "I8"),
    "int8 without scales": (tensors(cast("_proj.weight", torch.int8)), "I8"),
    "uint8": (tensors(cast("mlp.up_proj.weight", torch.uint8, "weight.absmax")), "U8"),
    "int32": (tensors(cast("self_attn.o_proj.weight", torch.int32)), "I32"),
    "fp8 by blocks": (tensors(cast("_proj.weight", torch.float8_e4m3fn, "weight_scale_inv")), "F8_E4M3"),
    "fp8, norms alone": (tensors(cast("norm.weight", torch.float8_e5m2)), "F8_E5M2"),
    "scales beside floats": (tensors(with_added(model__layers__0__self_attn__o_proj__weight_scale=torch.ones(1))), ""),
    "msModelSlim's tensors": (
        tensors(with_added(model__layers__0__self_attn__q_proj__deq_scale=torch.ones(1))),
        "msModelSlim",
    ),
    "GPTQ's tensors": (
        tensors(with_added(model__layers__0__mlp__up_proj__qweight=torch.ones(1, dtype=torch.int32))),
        "GPTQ or AWQ",
    ),
    "int8 in a .bin": (tensors(cast("_proj.weight", torch.int8), "pytorch_model.bin"), "int8"),
    "scales in a .bin": (tensors(cast("up_proj.weight", torch.int8, "weight_scale"), "pytorch_model.bin"), "int8"),
}


@pytest.mark.parametrize("kind", SCHEMES)
def test_the_runner_refuses_it_by_its_scheme(runner, damaged, kind):
    change, scheme = SCHEMES[kind]
    change(damaged)
    with pytest.raises(CannotRun, match=rf"the checkpoint is quantized \([^)]*{re.escape(scheme)}") as refused:
        runner(damaged).execute_model("a prompt")
    assert refused.value.diagnostic.code == "P130" and "dequantize" in refused.value.diagnostic.help


@pytest.mark.parametrize("kind", SCHEMES)
def test_the_port_refuses_it_by_its_scheme(models_folder, damaged, kind):
    change, scheme = SCHEMES[kind]
    change(damaged)
    with pytest.raises(QuantizedCheckpoint, match=rf"is quantized \([^)]*{re.escape(scheme)}"):
        load_model_class("llama2", models_folder).from_pretrained(damaged)


def test_a_configuration_or_a_state_dict_that_is_handed_over_is_looked_at_too(models_folder, checkpoint):
    port = load_model_class("llama2", models_folder)
    given = LlamaConfig.from_pretrained(checkpoint)
    given.quantization_config = {"quant_method": "ascend"}
    with pytest.raises(ValueError, match=r"\(ascend\): `quantization_config` in the configuration given"):
        port.from_pretrained(checkpoint, config=given)
    state = LlamaForCausalLM.from_pretrained(checkpoint).state_dict()
    state["model.layers.0.self_attn.q_proj.weight"] = state["model.layers.0.self_attn.q_proj.weight"].to(torch.int8)
    with pytest.raises(ValueError, match=r"quantized \(int8\)"):
        port.from_pretrained(None, config=LlamaConfig.from_pretrained(checkpoint), state_dict=state)


@pytest.mark.parametrize("argument", [{"quantization_config": BitsAndBytesConfig()}, {"gguf_file": "model.Q4_0.gguf"}])
def test_nothing_is_quantized_on_loading(models_folder, checkpoint, argument):
    with pytest.raises(ValueError, match=f"the argument {next(iter(argument))}"):
        load_model_class("llama2", models_folder).from_pretrained(checkpoint, **argument)


FINE = {
    "no scheme": config(quantization_config=None, quantize=None),
    "a description of floats": data("quant_model_description.json", {"model_quant_type": "FLOAT", "a.weight": "FLOAT"}),
    "integers that the source passes over": tensors(
        with_added(model__layers__0__self_attn__rotary_emb__inv_freq=torch.arange(8))
    ),
    "float64 weights": tensors(lambda held: {name: tensor.double() for name, tensor in held.items()}),
    "a .bin": tensors(dict, "pytorch_model.bin"),
}


@pytest.mark.parametrize("kind", FINE)
def test_what_is_not_quantized_gives_the_sources_tokens(runner, damaged, kind):
    FINE[kind](damaged)
    made = runner(damaged)
    (answer,) = made.execute_model("the license")
    inputs = made.tokenizer(["the license"], return_tensors="pt")
    source = LlamaForCausalLM.from_pretrained(damaged)
    expected = source.generate(**inputs, max_new_tokens=12)[0, inputs["input_ids"].shape[1] :]
    assert list(answer.token_ids) == expected.tolist()


def test_where_a_scheme_is_written_is_said():
    with pytest.raises(QuantizedCheckpoint, match=r"`a\.b\.quantization_config` in x"):
        check_config({"a": {"b": {"quantization_config": {"quant_method": "hqq"}}}}, "x")
    check_config({"quantize": "float", "a": {"quantization_config": None}}, "x")
    marks = {"a.q.qweight": "GPTQ or AWQ", "a.weight.quant_state.bitsandbytes__nf4": "bitsandbytes", "a.weight": None}
    assert {name: mark_of(name) for name in marks} == marks

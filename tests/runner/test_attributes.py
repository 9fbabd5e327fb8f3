"""What is set on a runner, before and after it loads, and on the NPU."""

import shutil
import types

import pytest
import torch
from transformers import LlamaForCausalLM

from porter.runner import CannotRun, LlmModelRunner
from tests.runner.reference import LENGTHS, PROMPTS, source_rows, tokens


def test_what_is_set_before_loading_has_its_effect(models_folder, checkpoint, tmp_path):
    made = LlmModelRunner("llama2", tmp_path / "elsewhere", models=models_folder, **LENGTHS)
    with pytest.raises(CannotRun, match="no checkpoint folder"):
        made.execute_model(PROMPTS)
    made.model_path = checkpoint
    found = made.model_class
    made.model_class = LlamaForCausalLM
    made.model_name = "llama2"
    assert made.model_class is found
    with pytest.raises(CannotRun, match="no model 'llama'"):
        made.model_name = "llama"
    with pytest.raises(CannotRun, match="registered are none"):
        made.execute_model(PROMPTS, models=tmp_path)
    assert made.model_name == "llama2" and made.model_class is found
    shutil.copytree(models_folder, tmp_path / "models")
    made.model_generate(PROMPTS[:1], models=tmp_path / "models")
    assert type(made.model) is made.model_class is not found
    made = LlmModelRunner("llama2", checkpoint, models=models_folder, **LENGTHS)
    assert tokens(made.execute_model(PROMPTS)) == source_rows(checkpoint, PROMPTS, 8)


def test_what_was_read_of_a_checkpoint_is_not_kept_for_another(runner, checkpoint, tmp_path):
    made = runner(model_path=shutil.copytree(checkpoint, tmp_path / "first"), adapter=tmp_path / "none", **LENGTHS)
    with pytest.raises(CannotRun, match="is no adapter"):  # behind the tokenizer
        made.execute_model(PROMPTS)
    assert made.tokenizer is not None
    made.model_path = shutil.copytree(checkpoint, tmp_path / "second", ignore=shutil.ignore_patterns("token*"))
    with pytest.raises(CannotRun, match="has no tokenizer"):
        made.execute_model(PROMPTS, adapter=None)


def test_attributes_are_read_and_set_by_the_names_scripts_know(runner, checkpoint, monkeypatch):
    made = runner(model_path=str(checkpoint), **LENGTHS)
    assert (made.model_name, made.model_path) == ("llama2", str(checkpoint))
    assert (made.local_rank, made.world_size, made.is_logging) == (0, 1, True)
    assert made.model is made.tokenizer is made.dtype is None and not made.input_padding
    made.dtype, made.input_padding, made.device = torch.bfloat16, True, "cpu"
    made.local_rank = made.world_size - 1
    made.execute_model(PROMPTS[:1], max_new_tokens=2)
    assert made.dtype == made.model.dtype == torch.bfloat16 and made._kept.cache.max_cache_len == 42
    for name, value, said in [
        ("world_size", 8, "world_size is 1, as the launcher has it"),
        ("local_rank", 1, "local_rank is 0"),
        ("dtype", torch.float16, "another dtype"),
        ("device", "cuda:7", "`cuda:7` is not there"),
        ("execute_mode", "graph", "eager or dynamo"),
        ("device", "meta", "no device `meta`"),
        ("model_name", "mistral", "the model is loaded: make a new runner for another model_name"),
        ("model_path", "elsewhere", "another model_path"),
        ("model_class", LlamaForCausalLM, "another model_class"),
    ]:
        before = getattr(made, name)
        with pytest.raises(ValueError, match=said):
            setattr(made, name, value)
        assert getattr(made, name) == before
        setattr(made, name, before)
    monkeypatch.setattr("porter.runner.attributes.choose_device", torch.device)  # as if there were others
    for device in ("cuda", torch.device("cuda:1")):
        with pytest.raises(ValueError, match="the model is loaded: make a new runner for another device"):
            made.device = device
    made.device = "cpu"
    assert made.device == made.model.device == torch.device("cpu")
    assert LlmModelRunner("llama2", checkpoint).dtype is None
    assert made.tokenizer.padding_side == "left" and made.tokenizer.pad_token is not None


def test_npu_settings_are_set_where_there_is_an_npu(monkeypatch):
    LlmModelRunner.set_npu_config(jit_compile=False)  # static, and nothing here
    with pytest.raises(TypeError, match="no NPU setting 'jit'"):
        LlmModelRunner.set_npu_config(jit=True)
    done = []
    npu = types.SimpleNamespace(
        is_available=lambda: True,
        device_count=lambda: 1,
        set_compile_mode=lambda **mode: done.append(mode),
        set_option=done.append,
    )
    monkeypatch.setattr(torch, "npu", npu, raising=False)
    LlmModelRunner.set_npu_config(jit_compile=True)
    assert done == [{"jit_compile": True}, {"NPU_FUZZY_COMPILE_BLACKLIST": "ReduceProd"}]

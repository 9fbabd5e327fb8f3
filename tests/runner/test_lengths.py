"""Prompts of several lengths, compiled, where an op takes the number of tokens as a constant: a graph for each."""

import importlib
import logging
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from porter.runner import LlmModelRunner, graph
from porter.verify.tiny import tiny_config
from tests.runner.reference import LENGTHS, PROMPTS, tokenizer_of, tokens

MODELS = Path(__file__).parents[2] / "generated_models"
LONG, SHORT = PROMPTS[:2], PROMPTS[1]
EXPERTS = {"mixtral": "MixtralForCausalLM", "qwen3_moe": "Qwen3MoeForCausalLM", "gpt_oss": "GptOssForCausalLM"}


@pytest.fixture
def compiled(monkeypatch):
    """What is compiled: the step's name, whether of any length, and the last of its folder."""
    torch._dynamo.reset()  # sizes that other steps were seen with decide which are tried as dynamic
    seen, real = [], graph.compile_step

    def noted(step, backend, *, dynamic, cache_folder):
        seen.append((step.__name__, dynamic, cache_folder.name))
        return real(step, backend, dynamic=dynamic, cache_folder=None)

    monkeypatch.setattr(graph, "compile_step", noted)
    return seen


@pytest.fixture(params=EXPERTS)
def runner(request, tmp_path, checkpoint):
    AutoTokenizer.from_pretrained(checkpoint).save_pretrained(tmp_path)
    module = importlib.import_module(f"transformers.models.{request.param}.modeling_{request.param}")
    source = getattr(module, EXPERTS[request.param])
    torch.manual_seed(0)
    source(tiny_config(source.config_class, vocab_size=len(tokenizer_of(checkpoint)))).save_pretrained(tmp_path)
    asked = {"backend": "eager", "cache_folder": tmp_path / "graphs", **LENGTHS}
    return LlmModelRunner(request.param, tmp_path, models=MODELS, **asked)


def test_experts_have_a_prefill_of_each_length_and_answer_as_in_eager_steps(runner, compiled, caplog):
    batches = [LONG, SHORT, LONG]
    eager = [tokens(runner.execute_model(batch)) for batch in batches]
    runner.execute_mode = "dynamo"
    with caplog.at_level(logging.WARNING, logger=graph.__name__):
        assert [tokens(runner.execute_model(batch)) for batch in batches] == eager
    assert [record.name for record in caplog.records] == [graph.__name__] and "input_padding=True" in caplog.text
    lengths = [max(len(runner.tokenizer(each)["input_ids"]) for each in batch) for batch in (LONG, [SHORT])]
    prefills = [(dynamic, folder) for name, dynamic, folder in compiled if name == "prefill"]
    assert prefills[0][0] and prefills[1][1] == f"of-{lengths[0]}-tokens"  # none of all lengths could be made
    kept = [folder for dynamic, folder in prefills if not dynamic]
    assert set(kept) == {f"of-{length}-tokens" for length in lengths}, prefills
    assert len(kept) == 2 and not any(dynamic for name, dynamic, _ in compiled if name == "decode")

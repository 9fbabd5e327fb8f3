"""The short suite: what porter owes under any release of its window. `pytest tests/releases/short.py`.

The suite itself says all of this, and more, of the newest releases, so there these are not collected by themselves.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import porter.cli
from porter.bench.demo_checkpoint import train_tokenizer
from porter.runner import LlmModelRunner
from porter.runtime import injection_policy, load_model_class, registered

PROMPTS = ["Licensed under", "the"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder of ports with Llama's, as the command writes it."""
    root = tmp_path_factory.mktemp("generated_models")
    assert porter.cli.exit_code(["convert", "transformers.models.llama", "--out", str(root / "llama2")]) == 0
    return root


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    licence = Path(porter.__file__).parents[1] / "LICENSE"
    tokenizer = train_tokenizer([licence.read_text(encoding="utf-8")])
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "max_position_embeddings": 256}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes, **heads, **ends))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    return folder


def test_every_site_of_llama_is_ported(models):
    account = json.loads((models / "llama2" / "port.json").read_text())
    assert {site["status"] for site in account["sites"]} == {"ported"}


def test_the_port_computes_what_its_source_does(models, capfd):
    code = porter.cli.exit_code(["verify", str(models / "llama2"), "--quick", "--json"])
    checks = json.loads(capfd.readouterr().out)["checks"]
    assert code == 0 and sum(check["outcome"] == "passed" for check in checks) >= 20


def test_its_prefill_and_decode_are_a_graph_each(models, capfd):
    code = porter.cli.exit_code(["verify", str(models / "llama2"), "--level", "capture"])
    assert code == 0, capfd.readouterr().out


def test_the_registry_names_it(models):
    assert registered(models) == ("llama2",)
    assert load_model_class("llama2", models).__name__ == "LlamaForCausalLM"
    assert injection_policy("llama2", models)


@pytest.mark.parametrize("mode", ["eager", "dynamo"])
def test_a_runner_answers_as_the_source_does(models, checkpoint, mode):
    runner = LlmModelRunner("llama2", checkpoint, models=models, max_new_tokens=8, backend="eager")
    runner.execute_mode = mode
    answers = runner.execute_model(PROMPTS)
    source = LlamaForCausalLM.from_pretrained(checkpoint).eval()
    for prompt, answer in zip(PROMPTS, answers, strict=True):
        given = runner.tokenizer(prompt, return_tensors="pt")
        tokens = source.generate(**given, max_new_tokens=8, do_sample=False)[0, given["input_ids"].shape[1] :]
        assert list(answer.token_ids) == tokens.tolist()

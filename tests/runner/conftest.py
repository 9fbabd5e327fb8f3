"""A registry with a Llama port, and a tiny checkpoint of random weights with a real tokenizer, trained here."""

import shutil
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import porter
from porter.bench.demo_checkpoint import train_tokenizer
from porter.convert import convert
from porter.diagnostics import Refused
from porter.emit import emit
from porter.runner import LlmModelRunner
from porter.source import load_source


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """The tensors are tiny: a second core costs more than it computes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def models_folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("generated_models")
    source = load_source("transformers.models.llama")
    assert not isinstance(source, Refused), source
    ported = convert(source, name="llama2")
    assert not isinstance(ported, Refused), ported
    assert not isinstance(emit(ported, root / "llama2"), Refused)
    return root


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    # a text that no change to porter's own touches: what the tests below find in the answers must stay there
    tokenizer = train_tokenizer([(Path(porter.__file__).parents[1] / "LICENSE").read_text(encoding="utf-8")])
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=128,
        max_position_embeddings=256,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder, max_shard_size="100KB")
    return folder


@pytest.fixture
def damaged(checkpoint, tmp_path):
    """A copy of the checkpoint to spoil."""
    return Path(shutil.copytree(checkpoint, tmp_path / "checkpoint"))


@pytest.fixture
def runner(models_folder, checkpoint):
    """A runner with a Llama port; other settings and another checkpoint by keyword."""

    def make(model_path=checkpoint, kind=LlmModelRunner, **config):
        return kind("llama2", model_path, **{"models": models_folder, "max_new_tokens": 12, **config})

    return make

"""One thread: the tensors are tiny, and waiting for a second core costs more than it computes. Sources with ports."""

import functools

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from porter.convert import convert
from porter.diagnostics import Refused
from porter.emit import emit
from porter.runtime import load_model_class
from porter.source import load_source

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


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
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

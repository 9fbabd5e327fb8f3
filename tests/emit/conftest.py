"""A small port, made by hand: what `emit` is given, without the stages before it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from porter.anatomy import SplitPoints
from porter.convert import convert
from porter.emit import Written, emit
from porter.plan import SiteReport
from porter.rewrite import Change, Ported
from porter.source import Source, load_source

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
PLACE = Path("/anywhere/generated_models/tiny2")  # where a port that is only rendered would be written

TEXT = """\
# Copyright 2023 Somebody.
# Licensed under the Apache License, Version 2.0.
import torch
from ...activations import ACT2FN


class TinyNorm(nn.Module):
    def forward(self, x):
        variance = x.pow(2).mean(-1, keepdim=True)
        return self.weight * x * torch.rsqrt(variance)


class TinyMLP(nn.Module):
    def forward(self, x):
        gate = self.act(self.gate(x))
        return self.down(gate * self.up(x))


class TinyForCausalLM(nn.Module):
    def forward(self, x):
        return x


__all__ = ["TinyForCausalLM", "TinyNorm", "Gone"]
"""

CODE = """\
# Copyright 2023 Somebody.
# Licensed under the Apache License, Version 2.0.
import torch
import torch_npu
from transformers.activations import ACT2FN


class TinyNorm(nn.Module):
    def forward(self, x):
        return torch_npu.npu_rms_norm(x, self.weight)[0]


class TinyMLP(nn.Module):
    def forward(self, x):
        return self.down(torch_npu.npu_swiglu(self.gate_up(x)))


class TinyForCausalLM(nn.Module):
    def forward(self, x):
        return x


__all__ = ["TinyForCausalLM", "TinyNorm", "Gone"]
"""


@pytest.fixture
def ported() -> Ported:
    source = Source(
        TEXT,
        Path("/anywhere/tiny/modeling_tiny.py"),
        "tiny/modeling_tiny.py",
        "lib.models.tiny.modeling_tiny",
        "lib",
        "1.2.3",
        "ab" * 32,
        None,
        (),
    )
    return Ported(
        source=source,
        name="tiny2",
        causal_class="TinyForCausalLM",
        code=CODE,
        exports=("TinyForCausalLM", "TinyNorm"),
        changes=(Change("norm", "TinyNorm.forward", 9, 10), Change("swiglu", "TinyMLP.forward", 15, 16)),
        sites=(
            SiteReport("TinyNorm.forward", "norm", 8, "ported", ("norm",), None),
            SiteReport("TinyMLP.forward", "mlp", 14, "ported", ("swiglu",), None),
            SiteReport("TinyForCausalLM.forward", "head", 20, "left", (), "no rule speaks of this kind of site"),
        ),
        rules=(("norm", "11" * 32), ("swiglu", "22" * 32)),
        split_points=SplitPoints("modeling_tiny", "TinyLayer", ("mlp.down",), "base_model_tp_plan", ()),
        options={"keep": [], "without": [], "strict": False},
    )


@pytest.fixture
def other(ported: Ported) -> Ported:
    """The same model, ported otherwise."""
    return replace(ported, code=CODE.replace("self.gate_up", "self.up_gate"), rules=(("norm", "33" * 32),))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "generated_models" / "tiny2"


@pytest.fixture
def written(ported, out) -> Path:
    assert isinstance(emit(ported, out), Written)
    return out


@pytest.fixture(scope="session")
def port(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Llama's."""
    ported = convert(load_source("transformers.models.llama"), name="llama2")
    folder = tmp_path_factory.mktemp("models") / "llama2"
    assert isinstance(emit(ported, folder), Written)
    return folder


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A tiny one of Llama."""
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**SIZES)).save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"

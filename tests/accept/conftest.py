"""Ports and their calls at small sizes, recorded once; and a copy of a port to run on."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path

import pytest
import torch

from porter.accept.calls import calls_of
from porter.accept.sides import Sides
from porter.lowering.steps import configuration
from porter.verify.port import open_port
from porter.verify.tiny import tiny_config

MODELS = Path(__file__).parents[2] / "generated_models"
PORTS = ("llama2", "qwen3", "gemma3", "phi3", "qwen3_moe", "mixtral", "glm4_moe", "deepseek_v3", "gpt_oss")
MEMORY = 1 << 30
CPU = torch.device("cpu")


def sides(**stand_ins):
    return Sides(CPU, "Ascend910B", stand_ins)


@cache
def port_of(name):
    return open_port(MODELS / name)


@cache
def calls_at(name, dtype=torch.bfloat16, memory=MEMORY):
    """The calls of a checked-in port; those of DeepSeek's rotary op too, which it uses at real widths alone."""
    model_class = port_of(name).load_class()
    calls = calls_of(model_class, tiny_config(model_class.config_class), dtype, memory)
    if name != "deepseek_v3":
        return calls
    wide = calls_of(model_class, configuration(model_class.config_class, 1), dtype, memory)
    return (*calls, *(call for call in wide if call.name == "npu_interleave_rope"))


@pytest.fixture
def own_port(tmp_path):
    """Copies a checked-in port into a folder of its own."""

    def copied(name):
        shutil.copytree(MODELS / name, tmp_path / "models" / name, ignore=shutil.ignore_patterns("__pycache__"))
        return tmp_path / "models" / name

    return copied


@pytest.fixture
def tiny_json(tmp_path):
    def written(name):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(tiny_config(port_of(name).load_class().config_class).to_dict(), default=str))
        return path

    return written

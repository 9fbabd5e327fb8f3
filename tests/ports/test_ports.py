"""Whole ports: the checked-in ones are what convert writes, and other families pass parity by the same rules."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from porter.convert import convert
from porter.diagnostics import Refused
from porter.emit import check, emit
from porter.source import load_source
from porter.verify.parity import verify

ROOT = Path(__file__).resolve().parents[2]
CHECKED_IN = sorted(path.parent for path in (ROOT / "generated_models").glob("*/port.json"))
ALL_RULES = {
    *("add_norm", "add_norm_across", "attention", "merge_qkv", "norm_rms_residual"),
    *("rotary_half", "rotary_scaling", "swiglu"),
}


def ported(module: str, name: str):
    source = load_source(module)
    assert not isinstance(source, Refused)
    result = convert(source, name=name)
    assert not isinstance(result, Refused)
    return result


def test_there_are_checked_in_ports():
    there = ["deepseek_v3", "gemma3", "glm4_moe", "gpt_oss", "llama2", "mixtral", "phi3", "qwen3", "qwen3_moe"]
    assert [path.name for path in CHECKED_IN] == there


@pytest.mark.parametrize("folder", CHECKED_IN, ids=lambda path: path.name)
def test_a_checked_in_port_is_byte_for_byte_what_convert_writes(folder):
    account = json.loads((folder / "port.json").read_text())
    assert check(ported(account["source"]["module"], account["name"]), folder) == []


@pytest.mark.parametrize("folder", CHECKED_IN, ids=lambda path: path.name)
def test_a_checked_in_port_passes_parity(folder):
    checks = verify(folder, quick=True)
    assert not isinstance(checks, Refused)
    assert [check for check in checks if check.failed] == []
    assert sum(check.passed for check in checks) >= 20


@pytest.mark.parametrize("model", ["mistral", "qwen2", "qwen3", "granite", "seed_oss"])
def test_a_relative_of_llama_is_ported_by_the_same_rules_and_passes_parity(model, tmp_path):
    result = ported(f"transformers.models.{model}", model)
    assert {rule for rule, _ in result.rules} == ALL_RULES
    assert {site.status for site in result.sites} == {"ported"}
    emit(result, tmp_path / model)
    checks = verify(tmp_path / model, quick=True)
    assert not isinstance(checks, Refused)
    assert [check for check in checks if check.failed] == []
    assert sum(check.passed for check in checks) >= 20

"""Whole ports: the checked-in ones are what convert writes, and other families pass parity by the same rules."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from porter.verify.sweep import sweep

from porter.convert import convert
from porter.diagnostics import Refused
from porter.emit import check, emit
from porter.source import load_source
from porter.verify.parity import verify

ROOT = Path(__file__).resolve().parents[2]
CHECKED_IN = sorted(path.parent for path in (ROOT / "generated_models").glob("*/port.json"))
SURVEY = json.loads((ROOT / "tests" / "ports" / "survey.json").read_text())
CENSUS = json.loads((ROOT / "tests" / "ports" / "census.json").read_text())
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
    assert [path.name for path in CHECKED_IN] == ["llama2"]


@pytest.mark.parametrize("folder", CHECKED_IN, ids=lambda path: path.name)
def test_a_checked_in_port_is_byte_for_byte_what_convert_writes(folder):
    account = json.loads((folder / "port.json").read_text())
    assert check(ported(account["source"]["module"], account["name"]), folder) == []


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


def test_the_readme_says_what_the_survey_found():
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    converted = [entry for entry in SURVEY["outcomes"] if entry["outcome"] == "converted"]
    whole = [entry for entry in converted if entry["whole"]]
    assert f"Of the {len(SURVEY['outcomes'])} modeling files" in readme and f"all {len(converted)} compute" in readme
    assert f"{len(converted)} are converted and {len(SURVEY['outcomes']) - len(converted)} refused" in readme
    assert f"{len(whole)} of them are whole" in readme
    assert max(entry["figure"] for entry in converted) <= 8e-7 and "within 8e-7 of their scale" in readme


def test_whole_is_what_a_census_says_too():
    """Nothing left, nothing unknown, and every class that building the model gives has a role."""
    for entry in SURVEY["outcomes"]:
        ported = entry["outcome"] == "converted" and all(site["status"] == "ported" for site in entry["sites"])
        assert entry["whole"] is (ported and entry["unknown"] == [])
        if entry["whole"]:
            assert CENSUS[entry["module"]]["unknown"] == CENSUS[entry["module"]]["unseen"] == []


def test_no_file_of_the_survey_crashed_or_differs_from_its_source():
    outcomes = {entry["outcome"] for entry in SURVEY["outcomes"]}
    compared = {entry["verified"] for entry in SURVEY["outcomes"] if entry["outcome"] == "converted"}
    assert [entry["module"] for entry in SURVEY["outcomes"]] == list(CENSUS)
    assert outcomes == {"converted", "refused"}
    assert compared == {"equal"}


@pytest.mark.parametrize("model", ["deepseek_v3", "gemma2", "granitemoehybrid", "olmo2", "phi3", "whisper"])
def test_the_survey_says_of_a_file_what_converting_it_says_now(model, tmp_path):
    entry = next(e for e in SURVEY["outcomes"] if e["module"].split(".")[-2] == model)
    source = load_source(entry["module"])
    assert not isinstance(source, Refused)
    result = convert(source, name=model)
    if entry["outcome"] == "refused":
        assert isinstance(result, Refused)
        assert [d.code for d in result.diagnostics] == [d["code"] for d in entry["diagnostics"]]
        return
    assert not isinstance(result, Refused)
    recorded = [(site["site"], site["status"], site["reason"]) for site in entry["sites"]]
    assert [(site.name, site.status, site.reason) for site in result.sites] == recorded
    emit(result, tmp_path / model)
    (swept,) = sweep([(model, tmp_path / model)])
    assert (swept.outcome, swept.detail) == (entry["verified"], entry["detail"])

"""Differences and open sites as GitHub annotations and as SARIF; the check of checked-in ports, and its commit hook."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import jsonschema
import pytest
import yaml

import porter.cli
from porter.diagnostics import Diagnostic, Span
from porter.report.findings import KINDS, Finding, of_refusal
from porter.report.github import workflow_commands
from porter.report.sarif import sarif_log
from porter.source import load_source
from tests.cli.conftest import ROOT

LLAMA = "transformers.models.llama"

# What SARIF 2.1.0 demands of the parts that are used here: sections 3.13, 3.14, 3.19, 3.27, 3.29 and 3.30.
_LINE = {"type": "integer", "minimum": 1}
_TEXT = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string", "minLength": 1}}}
_REGION = {
    "type": "object",
    "properties": dict.fromkeys(("startLine", "startColumn", "endLine", "endColumn"), _LINE),
    "required": ["startLine"],
    "additionalProperties": False,
}
_PLACE = {
    "type": "object",
    "required": ["artifactLocation"],
    "properties": {
        "artifactLocation": {"type": "object", "required": ["uri"], "properties": {"uri": {"type": "string"}}},
        "region": _REGION,
    },
    "additionalProperties": False,
}
_RESULT = {
    "type": "object",
    "required": ["ruleId", "ruleIndex", "level", "message"],
    "properties": {
        "ruleId": {"type": "string"},
        "ruleIndex": {"type": "integer", "minimum": 0},
        "level": {"enum": ["none", "note", "warning", "error"]},
        "message": _TEXT,
        "locations": {"type": "array", "items": {"type": "object", "properties": {"physicalLocation": _PLACE}}},
    },
    "additionalProperties": False,
}
_DRIVER = {
    "type": "object",
    "required": ["name", "rules"],
    "properties": {
        "name": {"type": "string"},
        "version": {"type": "string"},
        "rules": {"type": "array", "uniqueItems": True, "items": {"type": "object", "required": ["id"]}},
    },
    "additionalProperties": False,
}
_RUN = {
    "type": "object",
    "required": ["tool", "results"],
    "properties": {
        "tool": {"type": "object", "required": ["driver"], "properties": {"driver": _DRIVER}},
        "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
        "results": {"type": "array", "items": _RESULT},
    },
    "additionalProperties": False,
}
SARIF = {
    "type": "object",
    "required": ["version", "runs"],
    "properties": {
        "$schema": {"type": "string"},
        "version": {"const": "2.1.0"},
        "runs": {"type": "array", "items": _RUN},
    },
    "additionalProperties": False,
}


def results_of(log: dict[str, Any]) -> list[dict[str, Any]]:
    jsonschema.validate(log, SARIF)
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert all(rules[result["ruleIndex"]]["id"] == result["ruleId"] for result in run["results"])
    return run["results"]


def read_command(line: str) -> tuple[str, dict[str, str], str]:
    """A workflow command as the runner takes it apart."""
    head, _, message = line.removeprefix("::").partition("::")
    level, _, rest = head.partition(" ")
    pairs = dict(pair.split("=", 1) for pair in rest.split(","))
    return level, {name: unquote(value) for name, value in pairs.items()}, unquote(message)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A project with a port as it was written, one edited by hand, and one whose source is gone."""
    root = tmp_path_factory.mktemp("project")
    (root / "pyproject.toml").write_text('[tool.porter]\nmodels = "npu/ports"\n')
    source = load_source(LLAMA)
    assert not isinstance(source, porter.cli.Refused)
    text = source.text.replace("from ...", "from transformers.")
    text = text.replace("from .configuration_llama", "from transformers.models.llama.configuration_llama")
    (root / "modeling_gone.py").write_text(text)
    ports = root / "npu" / "ports"
    specs = {"same": LLAMA, "edited": LLAMA, "gone": str(root / "modeling_gone.py")}
    for name, spec in specs.items():
        keep = ["--keep", "LlamaMLP.forward"] if name == "same" else []
        assert porter.cli.exit_code(["convert", spec, "--out", str(ports / name), *keep]) == 0
    (root / "modeling_gone.py").unlink()
    model = ports / "edited" / "modeling_llama.py"
    model.write_text(model.read_text().replace("import torch\n", "import torch  # 100%, mine\n", 1))
    (ports / "edited" / "notes.txt").write_text("mine")
    return root


@pytest.fixture
def project(made, monkeypatch) -> Path:
    monkeypatch.chdir(made)
    return made


def test_differences_as_annotations(porter_here, project):
    done = porter_here("convert", LLAMA, "--out", "npu/ports/edited", "--check", "--format", "github")
    assert (done.code, done.err) == (1, "")
    commands = [read_command(line) for line in done.out.splitlines()]
    file = "npu/ports/edited/modeling_llama.py"
    line = Path(file).read_text().split("\n").index("import torch  # 100%, mine") + 1
    level, where, message = next(command for command in commands if command[1]["file"] == file)
    assert (level, where["line"], where["title"]) == ("error", str(line), "porter port-differs")
    assert message.split("\n")[1:] == ["there:    import torch  # 100%, mine", "expected: import torch"]
    assert {command[1]["title"] for command in commands} == {"porter port-differs", "porter port-foreign"}


def test_differences_as_sarif(porter_here, project):
    done = porter_here("convert", LLAMA, "--out", "npu/ports/edited", "--check", "--format", "sarif")
    results = results_of(json.loads(done.out))
    assert done.code == 1 and {result["ruleId"] for result in results} == {"port-differs", "port-foreign"}
    (place,) = [
        result["locations"][0]["physicalLocation"] for result in results if "import torch" in result["message"]["text"]
    ]
    assert place["artifactLocation"]["uri"] == "npu/ports/edited/modeling_llama.py" and place["region"]["startLine"] > 1


@pytest.mark.parametrize("form", ["github", "sarif"])
def test_what_is_the_same_gives_nothing(porter_here, project, form):
    words = ("--out", "npu/ports/same", "--keep", "LlamaMLP.forward", "--check", "--format", form)
    done = porter_here("convert", LLAMA, *words)
    assert (done.code, done.err) == (0, "")
    assert done.out == "" if form == "github" else results_of(json.loads(done.out)) == []


def test_open_sites_are_warnings_at_their_code(porter_here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # an environment below the current folder would be named as seen from there
    spec = "transformers.models.mamba"
    document = json.loads(porter_here("inspect", spec, "--json").out)
    left = [site["site"] for site in document["sites"] if site["status"] in ("left", "partly")]
    source = load_source(spec)
    assert not isinstance(source, porter.cli.Refused) and left
    lines = source.text.split("\n")
    done = porter_here("inspect", spec, "--format", "sarif")
    results = results_of(json.loads(done.out))
    assert done.code == 0 and len(results) == len(left) + len(document["unknown"])
    for result, site, miss in zip(results, left, document["misses"], strict=False):
        assert (result["ruleId"], result["level"]) == ("site-left", "warning") and f"`{site}`" in result["message"][
            "text"
        ]
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"]["uri"] == source.path.as_uri()
        region, span = place["region"], miss["span"]
        assert (region["startLine"], region["startColumn"]) == (span["line"], span["column"])
        assert lines[region["startLine"] - 1][region["startColumn"] - 1] not in " \t"
    levels = [read_command(line)[0] for line in porter_here("inspect", spec, "--format", "github").out.splitlines()]
    assert levels == ["warning"] * len(results)


def test_a_refusal_is_a_finding_too_and_still_said(porter_here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("modeling_x.py").write_text("def broken(:\n    pass\n")
    done = porter_here("inspect", "modeling_x.py", "--format", "github")
    level, where, _ = read_command(done.out.rstrip("\n"))
    assert (done.code, level, where["file"], where["line"], where["col"]) == (1, "error", "modeling_x.py", "1", "12")
    assert done.err.startswith("error[P")
    (result,) = results_of(json.loads(porter_here("inspect", "nosuch", "--format", "sarif").out))
    assert result["ruleId"] == "P001" and "locations" not in result


def test_odd_texts_and_paths():
    odd = Finding("site-left", "warning", "50%\r\n::error::x", "a b,c:d/e%f.py", 3, 1, 3, 9)
    (line,) = workflow_commands([odd]).split("\n")
    level, where, message = read_command(line)
    assert (level, where["file"], where["endColumn"], message) == ("warning", odd.path, "9", odd.message)
    (result,) = results_of(sarif_log([odd]))
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "a%20b%2Cc%3Ad/e%25f.py"
    (bare,) = of_refusal([Diagnostic("P1", "m", Span("x.py", 2, 4, 3, 1), "label", ("note",), "do", "warning")])
    assert (bare.level, bare.message, bare.line, bare.column) == ("warning", "m\nlabel\nnote\nhelp: do", 2, 5)
    assert all(text.endswith(".") for text in KINDS.values())


# --- porter check


def test_all_ports_of_the_project_are_made_again_as_they_were(porter_here, project):
    done = porter_here("check")
    rows = [line.split() for line in done.out.splitlines()]
    assert done.code == 1
    assert ["npu/ports/same", "same"] in rows and ["npu/ports/edited", "differs"] in rows
    assert ["npu/ports/gone", "refused"] in rows and "error[P090]" in done.out
    assert "npu/ports/edited/notes.txt: not from porter\n" in done.out
    assert "2 of 3 ports are not what converting again gives: edited, gone\n" in done.out


@pytest.mark.parametrize(
    ("words", "checked"),
    [
        (("same",), ["same"]),
        (("npu/ports/same",), ["same"]),
        (("npu/ports/same/modeling_llama.py", "npu/ports/same/port.json"), ["same"]),
        (("pyproject.toml",), ["edited", "gone", "same"]),
    ],
    ids=str,
)
def test_names_folders_and_files_say_which(porter_here, project, words, checked):
    done = porter_here("check", *words, "--json")
    document = json.loads(done.out)
    assert [Path(port["folder"]).name for port in document["ports"]] == checked
    assert done.code == (0 if checked == ["same"] else 1)


def test_findings_of_all_ports(porter_here, project):
    done = porter_here("check", "--format", "sarif")
    kinds = {result["ruleId"] for result in results_of(json.loads(done.out))}
    assert done.code == 1 and kinds == {"port-differs", "port-foreign", "P090"}


def test_a_name_of_no_port_and_a_folder_without_ports(porter_here, project, tmp_path, monkeypatch):
    done = porter_here("check", "sane")
    assert done.code == 1 and done.err.startswith("error[P080]") and "did you mean `same`?" in done.err
    monkeypatch.chdir(tmp_path)
    assert porter_here("check").err.startswith("error[P080]: no ports in `generated_models`\n")


def test_the_commit_hook(project, environment):
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert {"id", "name", "entry", "language"} <= hook.keys() and hook["pass_filenames"] is False
    program, *words = shlex.split(hook["entry"])
    assert program == "porter"

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "porter", *words, *more]
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=project)

    done = run()
    assert done.returncode == 1 and "npu/ports/edited/modeling_llama.py:" in done.stdout
    assert run("npu/ports/same/modeling_llama.py").returncode == 0, "as with `pass_filenames: true`"

"""`porter doctor`: each part of a stack, by stand-ins for what is installed."""

from __future__ import annotations

import json

import pytest

import porter.cli
from porter.release import WINDOWS, release_of
from porter.release.doctor import ABSENT, TESTED, UNTESTED, WRONG, examine
from porter.release.stack import UNKNOWN, Stack, installed_stack
from porter.release.tested import Tried

PORTS = {"one": {"sites": {"ported": 7}, "passed": 30, "failed": []}}
FIRST = {name: window.partition(",")[0].lstrip(">=") for name, window in WINDOWS.items()}
END = {name: WINDOWS[name].partition("<")[2] for name in ("torch", "transformers")}
TORCH = f"{FIRST['torch']}.0"
PYTHON = "3.12.1"
HERE = {"python": PYTHON, "torch": f"{TORCH}+cpu", "transformers": f"{FIRST['transformers']}.1"}
ROWS = (Tried(PYTHON, TORCH, HERE["transformers"], True, PORTS),)


def found(rows=ROWS, cann_is_set=True, **versions):
    given = {name: version for name, version in {**HERE, **versions}.items() if version is not None}
    return {part.name: part for part in examine(Stack(given, cann_is_set), rows)}


def test_a_stack_that_was_tested_is_said_to_be():
    parts = found()
    assert {parts[name].state for name in ("python", "torch", "transformers")} == {TESTED}
    assert parts["torch"].note == "1 of 1 ports whole, 30 checks passed"
    assert {parts[name].state for name in ("torch_npu", "CANN", "deepspeed", "peft")} == {ABSENT}
    assert f"fetches {TORCH} into a folder" in parts["torch_npu"].note


def test_two_releases_that_were_not_tested_together_are_untested():
    rows = (*ROWS, Tried(PYTHON, "9.9.0", "9.9.0", True, PORTS))
    parts = found(rows, torch="9.9.0")
    assert parts["torch"].state == WRONG  # outside the window, whatever was tested
    last = f"{release_of(TORCH).partition('.')[0]}.{int(TORCH.split('.')[1]) + 1}.0"
    assert found(rows, torch=last)["torch"].state == UNTESTED
    note = found(rows, torch=last)["transformers"].note
    assert note.startswith(f"tested with torch {release_of(TORCH)}, not with yours") and "porter verify" in note


@pytest.mark.parametrize(
    "row",
    [
        Tried(PYTHON, TORCH, HERE["transformers"], False, PORTS),
        Tried(PYTHON, TORCH, HERE["transformers"], True, {"one": {"passed": 30, "failed": ["tokens"]}}),
        Tried(PYTHON, TORCH, HERE["transformers"], True, {"one": {"refused": "why"}}),
    ],
    ids=["short suite", "a check", "a port"],
)
def test_what_failed_is_not_tested(row):
    assert found((row,))["torch"].state == UNTESTED


@pytest.mark.parametrize("name", ["torch", "transformers"])
def test_what_lacks_or_lies_outside_is_wrong_and_says_what_to_install(name):
    for version in (None, f"{END[name]}.0", "0.1", f"{FIRST[name]}.0.dev0"):
        part = found(**{name: version})[name]
        assert part.state == WRONG and WINDOWS[name] in part.note


def test_a_torch_npu_belongs_to_one_torch():
    cann = {"CANN": "8.5.0"}
    for version in (TORCH, f"{TORCH}.post2"):
        assert found(torch_npu=version, **cann)["torch_npu"].state == UNTESTED
    wrong = found(torch_npu="2.0.1.post2", **cann)["torch_npu"]
    assert wrong.state == WRONG and "install `torch==2.0.1`" in wrong.note
    assert found(torch_npu=TORCH, torch=None, **cann)["torch_npu"].state == WRONG


def test_cann_is_wanted_by_torch_npu_alone_and_its_environment_must_be_set():
    assert found(torch_npu=TORCH)["CANN"].state == WRONG
    assert found(CANN="8.5.0", cann_is_set=False)["CANN"].note == "its environment is not set: source its set_env.sh"
    assert found(CANN="8.5.0")["CANN"].state == UNTESTED


def test_another_python_is_untested_and_an_old_one_wrong():
    assert found(python="3.12.9")["python"].state == TESTED
    assert found(python="3.99.0")["python"].note.startswith("tested with 3.12")
    assert found(python="3.9.1")["python"].state == WRONG


def test_another_deepspeed_is_untested():
    assert found(deepspeed=FIRST["deepspeed"])["deepspeed"].state == TESTED
    assert found(deepspeed="0.1")["deepspeed"].state == UNTESTED


def test_cann_is_read_where_its_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("ASCEND_TOOLKIT_HOME", str(tmp_path))
    assert installed_stack().versions["CANN"] == UNKNOWN
    (tmp_path / "compiler").mkdir()
    (tmp_path / "compiler" / "version.info").write_text("Date=today\nVersion=8.5.0\n")
    assert installed_stack() == Stack({**installed_stack().versions, "CANN": "8.5.0"}, cann_is_set=True)


def test_the_command_says_what_is_here(capfd):
    code = porter.cli.exit_code(["doctor"])
    text = capfd.readouterr().out
    porter.cli.exit_code(["doctor", "--json"])
    document = json.loads(capfd.readouterr().out)
    assert (code == 0) is document["ok"] and document["kernels_run"] is False
    stack = installed_stack().versions
    assert {part["name"]: part["version"] for part in document["parts"] if part["version"]} == stack
    assert all(f"{name} " in text and version in text for name, version in stack.items())
    assert "kernel: not run" in text and document["tested"]

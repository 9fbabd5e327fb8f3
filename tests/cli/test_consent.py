"""Code out of a folder runs by consent alone: whatever the command, nothing of it is executed before."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import porter.cli
from porter.diagnostics import Refused
from porter.runner import CannotRun, LlmModelRunner
from porter.runtime import CannotLoad, load_model_class
from porter.verify.capture import capture
from porter.verify.contract import contract, shipped_configs
from porter.verify.parity import verify
from porter.verify.port import open_port, open_to_compare
from tests.verify.conftest import write_checkpoint_code

FLAG = "--trust-remote-code"
EXECUTES = {
    "verify": ("verify",),
    "verify quickly": ("verify", "--quick"),
    "verify graphs": ("verify", "--level", "capture"),
    "verify sizes": ("verify", "--level", "contract", "--config", "llama-2-7b"),
    "lower": ("lower",),
    "lower the source too": ("lower", "--baseline"),
    "lower by rule": ("lower", "--by-rule"),
    "lower and execute": ("lower", "--execute", "--dtype", "bfloat16"),
    "accept": ("accept", "--device", "cpu"),
    "bench": ("bench", "--quick"),
}
LIBRARY = Path(__file__).parents[2] / "generated_models" / "llama2"


MARK = "\n\nimport os\n\nopen(os.environ['EXECUTED'], 'a').write(__file__)\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A checkpoint's folder whose code leaves a mark wherever it is executed, and its port, made without consent."""
    root = tmp_path_factory.mktemp("made")
    folder = write_checkpoint_code(root / "checkpoint")
    for name in ("modeling_mine.py", "configuration_mine.py"):
        with (folder / name).open("a") as file:
            file.write(MARK)
    for words in (("inspect", folder, "--why"), ("convert", folder, "--out", root / "ports" / "mine")):
        assert porter.cli.exit_code([str(word) for word in words]) == 0
    assert "EXECUTED" not in os.environ  # to execute any of it would have been an error
    return root


@pytest.fixture
def port(made, tmp_path, monkeypatch) -> Path:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("EXECUTED", str(tmp_path / "executed"))
    return tmp_path / "ports" / "mine"


@pytest.fixture
def trap(port) -> Path:
    return port.parents[1] / "checkpoint"


def was_executed(port: Path) -> bool:
    return (port.parents[1] / "executed").exists()


@pytest.mark.parametrize("words", EXECUTES.values(), ids=EXECUTES)
def test_without_consent_nothing_is_executed_and_the_file_is_named(porter_here, port, words):
    command, *options = words
    done = porter_here(command, port, *options)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error[P141]: `{port}/modeling_mine.py` is code out of a folder: ")
    assert f"this would execute `{port}/modeling_mine.py`" in done.err
    assert f"`{port.parents[1]}/checkpoint/modeling_mine.py`" in done.err
    assert FLAG in done.err.split("help: ")[1] and done.err.count("error[") == 1
    assert not was_executed(port)
    (diagnostic,) = json.loads(porter_here(command, port, *options, "--json").out)["diagnostics"]
    assert diagnostic["code"] == "P141" and not was_executed(port)


def test_run_asks_too(porter_here, port, tmp_path):
    words = ("run", "mine", "--models", port.parent, "--model-path", tmp_path, "--prompt", "a")
    done = porter_here(*words)
    assert done.code == 1 and "error[P141]: " in done.err and not was_executed(port)
    done = porter_here(*words, FLAG)
    assert done.code == 1 and "P141" not in done.err and was_executed(port)  # and there is no checkpoint


def test_the_run_script_asks_too(port, environment, tmp_path):
    command = [sys.executable, port / "run_mine.py", f"--model_path={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 1 and done.stderr.startswith("error[P141]: ") and not was_executed(port)
    done = subprocess.run([*command, "--trust_remote_code"], capture_output=True, text=True, env=environment)
    assert done.returncode == 1 and "P141" not in done.stderr and was_executed(port)


def test_from_python_it_is_an_argument(port, tmp_path):
    for ask in (verify, capture, open_port, open_to_compare):
        outcome = ask(port)
        assert isinstance(outcome, Refused) and outcome.diagnostics[0].code == "P141"
    outcome = contract(port, shipped_configs()["llama-2-7b"])
    assert isinstance(outcome, Refused) and outcome.diagnostics[0].code == "P141"
    with pytest.raises(CannotLoad, match="it runs only with your consent"):
        load_model_class("mine", port.parent)
    with pytest.raises(CannotRun, match="it runs only with your consent"):
        LlmModelRunner("mine", tmp_path, models=port.parent)
    assert not was_executed(port)
    runner = LlmModelRunner("mine", tmp_path, models=port.parent, trust_remote_code=True)
    assert runner.model_class.__name__ == "MineForCausalLM" and was_executed(port)


def test_consent_given_each_time(porter_here, port, tmp_path):
    config = tmp_path / "config.json"
    sizes = json.loads(shipped_configs()["llama-2-7b"].read_text())
    config.write_text(json.dumps({**sizes, "model_type": "mine"}))
    words = ("verify", port, "--level", "contract", "--config", config)
    assert porter_here(*words).code == 1 and not was_executed(port)
    assert porter_here(*words, FLAG).code == 0 and was_executed(port)


def test_consent_given_when_converting_is_recorded_for_that_text_alone(porter_here, port, trap):
    before = json.loads((port / "port.json").read_text())
    assert "trust_remote_code" not in before["options"] and FLAG not in before["regenerate"]
    assert porter_here("convert", trap, "--out", port, "--force", FLAG).code == 0
    account = json.loads((port / "port.json").read_text())
    assert account["options"]["trust_remote_code"] is True and account["regenerate"].endswith(FLAG)
    assert porter_here("convert", trap, "--out", port, "--check", FLAG).code == 0
    assert not was_executed(port), "converting executes nothing, whatever it records"
    assert not isinstance(open_port(port), Refused) and not isinstance(open_to_compare(port), Refused)
    for name in ("modeling_mine.py", "configuration_mine.py"):  # what was read is not what lies there now
        text = (port / name).read_text()
        (port / name).write_text(f"{text}\n")
        outcome = open_port(port)
        assert isinstance(outcome, Refused) and f"`{name}` was changed since" in str(outcome.diagnostics[0].notes)
        (port / name).write_text(text)
    assert porter_here("convert", trap, "--out", port, "--force").code == 0
    assert isinstance(open_port(port), Refused), "converted again without it"


def test_a_port_of_an_installed_package_asks_nothing_and_records_nothing(porter_here, tmp_path):
    assert not isinstance(open_to_compare(LIBRARY), Refused)
    words = ("convert", "transformers.models.llama", "--out", tmp_path / "llama2")
    assert porter_here(*words, FLAG).code == 0
    assert "trust_remote_code" not in json.loads((tmp_path / "llama2" / "port.json").read_text())["options"]


@pytest.mark.parametrize("spec", ["checkpoint", "checkpoint.modeling_mine"])
@pytest.mark.parametrize("is_package", [True, False])
def test_what_merely_lies_in_the_current_folder_is_no_installed_package(
    porter_process, environment, trap, spec, is_package
):
    """`python -m` makes the current folder importable, and with it whatever was downloaded there."""
    environment["EXECUTED"] = str(trap.parent / "executed")
    if is_package:
        (trap / "__init__.py").touch()
    done = porter_process("convert", spec, "--out", "ports/mine", "--force")
    assert done.code == 0, done.err
    source = json.loads((trap.parent / "ports" / "mine" / "port.json").read_text())["source"]
    assert (source["module"] is None) == (spec == "checkpoint" and not is_package)
    done = porter_process("verify", "ports/mine", "--quick")
    assert done.code == 1 and "error[P141]: " in done.err and not (trap.parent / "executed").exists()


@pytest.mark.parametrize("command", ["verify", "lower", "bench", "run", "convert"])
def test_help_says_what_the_flag_does(porter_here, command):
    help = " ".join(porter_here(command, "--help").out.split())
    assert FLAG in help
    says = "Nothing of it is run here." if command == "convert" else "refused, with what would run."
    assert says in help


@pytest.mark.parametrize("command", ["inspect", "matrix", "rules", "prove"])
def test_commands_that_run_no_such_code_have_no_such_flag(porter_here, command):
    assert FLAG not in porter_here(command, "--help").out


def test_consent_is_an_entry_of_the_account_and_no_word_of_the_environment(port, monkeypatch):
    for name in ("HF_HUB_TRUST_REMOTE_CODE", "TRUST_REMOTE_CODE"):
        monkeypatch.setitem(os.environ, name, "1")
    assert isinstance(open_port(port), Refused)

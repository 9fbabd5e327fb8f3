"""What a shell is offered, by click's own protocol: rules, sources, sites, ports, pages, configurations."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

import porter.cli
from porter.shipped import shipped
from tests.cli.conftest import ROOT

LLAMA = "transformers.models.llama"
RULES = sorted(path.stem for path in shipped("rules").glob("*.py"))


def offered(words: list[str], typed: str = "") -> list[str]:
    complete = ShellComplete(porter.cli.commands, {}, "porter", "_PORTER_COMPLETE")
    return [item.value for item in complete.get_completions(words, typed) if item.type == "plain"]


@pytest.fixture(autouse=True)
def here(monkeypatch, capfd):
    """In the checkout; whatever is asked, nothing is said."""
    monkeypatch.chdir(ROOT)
    yield
    assert capfd.readouterr() == ("", "")


def test_rules_by_name():
    assert offered(["rule"]) == RULES
    assert offered(["rule"], "swi") == [rule for rule in RULES if rule.startswith("swi")]
    assert offered(["prove", "norm_rms"], "swig") == [rule for rule in RULES if rule.startswith("swig")]
    assert "swiglu" in offered(["convert", LLAMA, "--without"], "sw")


def test_rules_of_ones_own(tmp_path):
    (tmp_path / "mine_alone.py").write_text("")
    (tmp_path / "_hidden.py").write_text("")
    assert offered(["prove", "--rules", str(tmp_path)], "mine") == ["mine_alone"]
    assert offered(["prove", "--rules", str(tmp_path / "no")], "swiglu_f") == ["swiglu_fused"]


def test_sources_and_their_sites():
    assert f"{LLAMA}" in offered(["inspect"], "transformers.models.lla")
    assert offered(["inspect"], "./modeling") == [], "files are the shell's own affair"
    assert offered(["why", LLAMA], "LlamaM") == ["LlamaMLP.forward", "LlamaModel.forward"]
    assert offered(["convert", LLAMA, "--keep"], "LlamaRMS") == ["LlamaRMSNorm.forward"]
    assert offered(["why", "transformers.models.nosuch"]) == offered(["why", "./nosuch.py"]) == []


@pytest.mark.parametrize("command", ["review", "verify", "lower", "run", "bench", "export", "check"])
def test_ports(command, tmp_path):
    ports = sorted(path.parent.name for path in (ROOT / "generated_models").glob("*/port.json"))
    assert offered([command]) == ports and offered([command], "lla") == ["llama2"]
    if command != "check":
        assert offered([command, "--models", str(tmp_path)]) == []


def test_pages_configurations_and_commands():
    assert "own-rules" in offered(["explain"])
    assert offered(["verify", "llama2", "--config"], "llama-3") == ["llama-3-8b"]
    assert offered(["schema"], "ver") == ["verify"]
    assert offered([], "pro") == ["prove"]


_ASKED = """
import sys, porter.cli
from click.shell_completion import ShellComplete
complete = ShellComplete(porter.cli.commands, {}, "porter", "_PORTER_COMPLETE")
for words, typed in (["rule"], ""), (["why", "transformers.models.llama"], "L"), (["verify"], ""), (["inspect"], "t"):
    assert complete.get_completions(words, typed)
print(sorted({"torch", "transformers", "numpy", "rich"} & set(sys.modules)))
"""


def test_nothing_heavy_is_loaded_to_complete_a_word(environment):
    done = subprocess.run([sys.executable, "-c", _ASKED], capture_output=True, text=True, env=environment, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_the_line_of_the_help_is_a_script_that_bash_takes(environment, tmp_path: Path):
    asked = {**environment, "_PORTER_COMPLETE": "bash_source"}
    done = subprocess.run([sys.executable, "-m", "porter"], capture_output=True, text=True, env=asked)
    assert done.returncode == 0 and "_PORTER_COMPLETE=bash_complete" in done.stdout
    words = {
        **environment,
        "_PORTER_COMPLETE": "bash_complete",
        "COMP_WORDS": "porter rule swiglu_c",
        "COMP_CWORD": "2",
    }
    done = subprocess.run([sys.executable, "-m", "porter"], capture_output=True, text=True, env=words)
    assert done.stdout == "plain,swiglu_called\n"

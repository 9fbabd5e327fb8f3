"""`porter convert --diff`: what `port.diff` would be, printed, and nothing written."""

from __future__ import annotations

import json
import subprocess

import pytest

from porter.diagnostics import Refused
from porter.source import load_source

LLAMA = "transformers.models.llama"


def test_the_diff_is_printed_and_nothing_written(porter_here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = porter_here("convert", LLAMA, "--diff", "--out", "generated_models/llama2")
    assert (done.code, done.err) == (0, "")
    assert not list(tmp_path.iterdir())
    assert porter_here("convert", LLAMA, "--out", "generated_models/llama2").code == 0
    assert done.out == (tmp_path / "generated_models" / "llama2" / "port.diff").read_text()
    again = porter_here("convert", LLAMA, "--diff", "--out", "generated_models/llama2")
    assert (again.code, again.out) == (0, done.out), "a port that is there is in nobody's way"
    document = json.loads(porter_here("convert", LLAMA, "--diff", "--json").out)
    assert document["ok"] and document["diff"].startswith("--- a/llama/modeling_llama.py\n")


def test_the_printed_diff_applies(porter_here, tmp_path):
    source = load_source(LLAMA)
    assert not isinstance(source, Refused)
    file = tmp_path / source.display
    file.parent.mkdir()
    file.write_text(source.text)
    patch = porter_here("convert", LLAMA, "--diff", "--name", "llama2").out
    subprocess.run(["git", "apply", "-"], input=patch.encode(), cwd=tmp_path, check=True, capture_output=True)
    assert porter_here("convert", LLAMA, "--out", tmp_path / "llama2").code == 0
    header = "# Ported to Ascend NPU by porter"
    assert header in file.read_text()
    assert file.read_text().split("\n#\n# What every")[1] == (
        (tmp_path / "llama2" / "modeling_llama.py").read_text().split("\n#\n# What every")[1]
    )


@pytest.mark.parametrize("other", ["--check", "--force"])
def test_the_diff_excludes_what_compares_or_writes(porter_here, other):
    done = porter_here("convert", LLAMA, "--diff", other)
    assert done.code == 2 and other in done.err


def test_a_source_without_a_port_has_no_diff(porter_here, tmp_path):
    (tmp_path / "modeling_x.py").write_text("x = 1\n")
    done = porter_here("convert", tmp_path / "modeling_x.py", "--diff")
    assert (done.code, done.out) == (1, "") and done.err.startswith("error[")

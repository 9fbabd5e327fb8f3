"""The exit codes that `porter --help` names, each seen to be given."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import porter.cli
from tests.cli.conftest import ROOT

LLAMA = "transformers.models.llama"


def documented(out: str) -> dict[int, str]:
    """Code -> what the help says of it."""
    lines = out.split("\n")
    below = lines[lines.index("  Exit codes:") + 1 :]
    rows = [line.split(maxsplit=1) for line in below[: below.index("")]]
    return {int(code): text for code, text in rows}


def test_the_help_names_every_code_that_there_is(porter_here):
    codes = documented(porter_here("--help").out)
    own = {porter.cli.FAILED, porter.cli.BUG, porter.cli.INTERRUPTED, porter.cli.PIPE_CLOSED}
    assert set(codes) == {0, 2} | own == {0, 1, 2, 70, 130, 141}
    assert all(len(text) > 8 for text in codes.values())


def test_0_1_and_2(porter_here, tmp_path):
    assert porter_here("convert", LLAMA, "--out", tmp_path / "x").code == 0
    assert porter_here("convert", LLAMA, "--out", tmp_path / "x").code == 1, "refused"
    (tmp_path / "x" / "notes.txt").write_text("mine")
    assert porter_here("convert", LLAMA, "--out", tmp_path / "x", "--check").code == 1, "differs"
    assert porter_here("verify", "llama2", "--level", "contract").code == 2


def test_70_for_a_bug(porter_here, monkeypatch):
    monkeypatch.setattr("porter.source.load_source", lambda spec: 1 / 0)
    done = porter_here("inspect", LLAMA)
    assert done.code == 70 and "ZeroDivisionError" in done.err


def test_130_for_an_interrupt(environment, tmp_path):
    code = (
        "import signal, sys, time, porter.cli, porter.source\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def wait(spec):\n    print('waiting', file=sys.stderr, flush=True)\n    while True: time.sleep(0.01)\n"
        "porter.source.load_source = wait\n"
        "sys.exit(porter.cli.exit_code(['inspect', 'x']))\n"
    )
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, cwd=tmp_path)
    assert process.stderr is not None and process.stderr.readline() == b"waiting\n"
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130 and b"interrupted" in process.stderr.read()


def test_141_for_a_reader_that_has_gone(environment):
    ours, theirs = os.pipe()
    os.close(ours)
    command = [sys.executable, "-m", "porter", "schema"]
    done = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, env=environment, cwd=ROOT)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (141, b"")


def test_the_help_is_read_without_what_commands_load(environment, tmp_path: Path):
    heavy = "{'rich', 'libcst', 'torch', 'jinja2'}"
    code = f"import sys, porter.cli; porter.cli.exit_code(['--help']); print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.stdout.endswith("[]\n")

"""The command as a process: help, usage, what it loads, interrupts, closed pipes, bugs, terminals."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import libcst
import pytest

from porter.cli.talk import was_interrupted

LLAMA = "transformers.models.llama"


@pytest.mark.parametrize(
    "words",
    [(), ("convert",), ("inspect",), ("rules",), ("prove",), ("verify",), ("run",), ("matrix",)],
    ids=lambda words: " ".join(words) or "porter",
)
def test_help(porter_here, words):
    done = porter_here(*words, "--help")
    assert done.code == 0
    assert done.out.startswith("Usage: porter")


@pytest.mark.parametrize("words", [("nonsense",), ("convert",), ("convert", "x", "--nonsense"), ("verify",)])
def test_usage_errors_exit_2_and_keep_stdout_empty(porter_here, words):
    done = porter_here(*words)
    assert (done.code, done.out) == (2, "")


@pytest.mark.parametrize("words", [("convert", LLAMA, "--out", "x"), ("inspect", LLAMA), ("rules",)], ids=" ".join)
def test_what_converting_does_not_load(porter_process, words):
    code = (
        "import sys, porter.cli; code = porter.cli.exit_code(sys.argv[1:]);"
        "heavy = {'torch', 'transformers', 'rich', 'numpy'} & {name.split('.')[0] for name in sys.modules};"
        "print(code, sorted(heavy), file=sys.stderr)"
    )
    assert porter_process(*words, python=("-c", code)).err == "0 []\n"


def test_a_matrix_of_conversions_loads_neither_torch_nor_transformers(porter_process):
    code = (
        "import sys, porter.cli; porter.cli.exit_code(sys.argv[1:]);"
        "print(sorted({'torch', 'transformers', 'rich', 'numpy'} & set(sys.modules)), file=sys.stderr)"
    )
    done = porter_process("matrix", "--level", "port", "--models", "llama", python=("-c", code))
    assert done.err.split("\n")[1:] == ["[]", ""] and "llama  yes" in done.out


def test_a_bare_import_loads_click_only(porter_process):
    code = (
        "import sys, porter.cli;print(sorted({'jinja2', 'rich', 'libcst', 'torch', 'transformers'} & set(sys.modules)))"
    )
    assert porter_process(python=("-c", code)).out == "[]\n"


_INTERRUPTIBLE = """
import signal, runpy
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a process in the background is started without
runpy.run_module("porter", run_name="__main__", alter_sys=True)
"""


def test_an_interrupt_exits_130(environment, tmp_path):
    command = [sys.executable, "-c", _INTERRUPTIBLE, "matrix", "--level", "port"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, cwd=tmp_path)
    assert process.stdout is not None and process.stderr is not None
    process.stderr.readline()  # it has begun
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 130
    assert err.decode().endswith("interrupted\n")
    assert b"Traceback" not in err


def test_a_closed_pipe_is_no_error(environment, tmp_path):
    command = f"set -o pipefail; {sys.executable} -m porter matrix --level port --models gpt2,llama 2>err.txt | true"
    subprocess.run(["bash", "-c", command], env=environment, cwd=tmp_path)
    assert "Traceback" not in (tmp_path / "err.txt").read_text()


def test_a_bug_shows_its_traceback(porter_here, monkeypatch):
    def bug(spec: str) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("porter.source.load_source", bug)
    done = porter_here("inspect", LLAMA)
    assert (done.code, done.out) == (70, "")
    assert "Traceback" in done.err and done.err.endswith("This is a bug in porter, not in your input.\n")


def test_colour_only_on_a_terminal_and_not_against_the_users_wish(porter_here, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    plain = porter_here("inspect", "transformers.models.lama").err
    monkeypatch.setattr("porter.cli.talk.on_terminal", lambda: True)
    monkeypatch.setattr("click.utils.should_strip_ansi", lambda *arguments: False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = porter_here("inspect", "transformers.models.lama").err
    assert coloured != plain and "\x1b[" in coloured
    monkeypatch.setenv("NO_COLOR", "1")
    assert porter_here("inspect", "transformers.models.lama").err == plain


def test_an_interrupt_inside_the_printer_is_one_too(monkeypatch):
    """LibCST's printer raises an error of its own, with the whole tree in it, in the place of KeyboardInterrupt."""

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    module = libcst.parse_module("def f():\n    pass\n")
    monkeypatch.setattr(libcst.Pass, "_codegen_impl", interrupted)
    with pytest.raises(BaseException) as raised:
        assert module.code
    assert was_interrupted(raised.value)
    assert not was_interrupted(ValueError("another"))

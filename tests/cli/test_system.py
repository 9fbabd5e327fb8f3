"""What the system refuses, or holds that is no file: one message, exit 1, no traceback, nothing half written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from porter.diagnostics import Refused
from porter.source import load_source

LLAMA = "transformers.models.llama"
ONE = ("--level", "port", "--models", "llama")
PORTER = f"{sys.executable} -m porter"
LONG = "x" * 300
ASCII = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture
def shell(environment, tmp_path):
    """Runs a line of bash in an empty folder: exit code, stdout, stderr."""

    def run(line: str, **extra: str) -> tuple[int, str, str]:
        done = subprocess.run(
            ["bash", "-c", line], capture_output=True, env={**environment, **extra}, cwd=tmp_path, timeout=900
        )
        return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")

    return run


def is_one_message(err: str, code: str = "") -> bool:
    clean = "Traceback" not in err and "bug in porter" not in err and "Exception ignored" not in err
    return clean and err.count("error[") == 1 and err.startswith(f"error[{code}") and "= help: " in err


# --- sources that are none

SOURCES = {
    "nobody's home": ("~nosuchuser/modeling_x.py", "P001"),
    "nobody's folder": ("~nosuchuser", "P001"),
    "a name too long": (f"./{LONG}.py", "P007"),
    "a folder too long": (f"./{LONG}/x.py", "P007"),
    "a path too long": ("x/" * 3000 + "x.py", "P007"),
    "a module too long": (LONG, "P001"),
    "a module too long in a package": (f"transformers.models.{LONG}", "P001"),
    "a device": ("/dev/zero", "P004"),
    "nothing": ("", "P00"),
    "a null character": ("./a\0b.py", "P001"),
    "a number too long": ("9" * 5000, "P00"),
}


@pytest.mark.parametrize(("spec", "code"), SOURCES.values(), ids=SOURCES)
@pytest.mark.parametrize("command", ["inspect", "convert"])
def test_a_source_that_cannot_be(porter_here, tmp_path, monkeypatch, command, spec, code):
    monkeypatch.chdir(tmp_path)
    done = porter_here(command, spec)
    assert (done.code, done.out) == (1, "") and is_one_message(done.err, code), done.err
    assert not list(tmp_path.iterdir())


@pytest.fixture
def odd(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("modeling_pipe.py")
    os.symlink("/dev/zero", "modeling_device.py")
    os.symlink("modeling_loop.py", "modeling_loop.py")
    os.symlink("nowhere.py", "modeling_dangling.py")
    (tmp_path / "modeling_folder.py").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "code"), [("pipe", "P004"), ("device", "P004"), ("loop", "P007"), ("dangling", "P001"), ("folder", "P002")]
)
def test_what_is_no_regular_file_is_not_read(porter_here, odd, name, code):
    done = porter_here("inspect", f"modeling_{name}.py")
    assert (done.code, done.out) == (1, "") and is_one_message(done.err, code), done.err


def test_a_pipe_beside_a_source_is_not_waited_for(odd):
    for name in ("modeling_pipe.py", "modeling_device.py", "modeling_loop.py", "modeling_dangling.py"):
        (odd / name).unlink()
    os.mkfifo("configuration_other.py")
    os.mkfifo("parts.py")
    os.mkfifo("config.json")
    (odd / "modeling_x.py").write_text("from .parts import one\n")
    source = load_source(".")
    assert not isinstance(source, Refused) and source.configuration is None and source.siblings == ()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", ["modeling_x.py", "."])
def test_a_source_that_may_not_be_read(porter_here, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "modeling_x.py").write_text("x = 1\n")
    (tmp_path / name).chmod(0)
    done = porter_here("inspect", name)
    (tmp_path / name).chmod(0o700)
    assert (done.code, done.out) == (1, "") and is_one_message(done.err, "P007")


def test_a_refusal_that_no_command_foresees_is_the_systems(porter_here, monkeypatch):
    def refused(spec: str) -> None:
        raise PermissionError(13, "Permission denied", "/secret")

    monkeypatch.setattr("porter.source.load_source", refused)
    done = porter_here("inspect", LLAMA)
    assert (done.code, done.out) == (1, "") and is_one_message(done.err, "P145") and "`/secret`" in done.err
    document = json.loads(porter_here("inspect", LLAMA, "--json").out)
    assert [diagnostic["code"] for diagnostic in document["diagnostics"]] == ["P145"]


# --- where a port cannot be written


@pytest.mark.parametrize(
    ("out", "code"),
    [("file", "P071"), ("file/mine", "P071"), (LONG, "P074"), (f"{LONG}/mine", "P074"), ("loop", "P071"),
     ("loop/mine", "P071"), ("/proc/nothing/mine", "P074"), ("/dev/null/mine", "P071"), ("/dev/null", "P071")],
    ids=["a file", "in a file", "too long", "in what is too long", "a loop", "in a loop", "read-only", "in a device",
         "a device"],
)  # fmt: skip
@pytest.mark.parametrize("force", [(), ("--force",)], ids=["", "force"])
def test_a_place_that_takes_no_port(porter_here, tmp_path, monkeypatch, out, code, force):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    os.symlink("loop", "loop")
    done = porter_here("convert", LLAMA, "--out", out, "--name", "mine", *force)
    assert (done.code, done.out) == (1, "") and is_one_message(done.err, code), done.err
    assert sorted(os.listdir()) == ["file", "loop"] and (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("words", [("verify", LONG), ("lower", LONG), ("bench", LONG), ("bench", f"./{LONG}")], ids=str)
def test_a_port_that_cannot_be(porter_here, words):
    done = porter_here(*words)
    assert (done.code, done.out) == (1, "") and is_one_message(done.err), done.err


# --- where to and from what


full_device = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is full")


@full_device
@pytest.mark.parametrize("words", [f"inspect {LLAMA}", f"inspect {LLAMA} --json", "rules", "--help", "inspect --help"])
def test_a_full_stdout(shell, words):
    code, _, err = shell(f"{PORTER} {words} >/dev/full")
    assert code == 1 and is_one_message(err) and "No space left on device" in err, err


@full_device
def test_a_full_stdout_loses_no_port(shell, tmp_path):
    code, _, err = shell(f"{PORTER} convert {LLAMA} --out ports/mine >/dev/full")
    assert code == 1 and is_one_message(err, "P144"), err
    assert shell(f"{PORTER} convert {LLAMA} --out ports/mine --check")[0] == 0


def test_a_closed_stdout_is_said_before_anything_is_done(shell, tmp_path):
    code, _, err = shell(f"{PORTER} convert {LLAMA} --out ports/mine >&-")
    assert code == 1 and is_one_message(err, "P144"), err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("to", ["2>&-", pytest.param("2>/dev/full", marks=full_device)])
def test_nobody_has_to_listen_to_talk(shell, to):
    code, out, _ = shell(f"{PORTER} matrix --level port --models llama {to}")
    assert code == 0 and out.startswith("model  whole")
    assert shell(f"{PORTER} inspect nosuch {to}")[0] == 1


@pytest.mark.parametrize("words", [("rules",), ("rules", "--json"), ("inspect", LLAMA), ("matrix", *ONE)])
def test_a_reader_that_has_seen_enough(environment, words):
    ours, theirs = os.pipe()
    os.close(ours)
    command = [sys.executable, "-m", "porter", *words]
    done = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, env=environment)
    os.close(theirs)
    assert done.returncode == 141 and done.stderr.count(b"\n") <= 1
    assert done.stderr == b"" or done.stderr.startswith(b"matrix: llama: whole, ")


def test_a_current_folder_that_is_gone(shell):
    for words in (f"convert {LLAMA} --out x", f"convert {LLAMA}", "run x --model-path /tmp --prompt a", "verify x"):
        code, out, err = shell(f"mkdir gone; cd gone; rmdir ../gone; {PORTER} {words}")
        assert (code, out) == (1, "") and is_one_message(err, "P145") and "current folder" in err, err


def test_a_terminal_that_knows_ascii_only(shell, tmp_path):
    library = load_source(LLAMA)
    assert not isinstance(library, Refused)
    text = library.text.replace("from ...", "from transformers.").replace("LlamaMLP", "LlamäMLP")
    text = text.replace("from .configuration_llama", "from transformers.models.llama.configuration_llama")
    (tmp_path / "modeling_size.py").write_text(text, encoding="utf-8")
    code, out, err = shell(f"{PORTER} convert modeling_size.py --out mine -v", **ASCII)
    assert (code, err) == (0, "") and ("Llam\\xe4MLP.forward" in out or "LlamäMLP.forward" in out)
    code, out, err = shell(f"{PORTER} inspect modeling_size.py --json", **ASCII)
    assert code == 0 and out.isascii()
    assert "LlamäMLP.forward" in [site["site"] for site in json.loads(out)["sites"]]
    code, out, err = shell(f"{PORTER} inspect modeling_größe.py", **ASCII)
    assert code == 1 and is_one_message(err, "P001")
    assert shell(f"{PORTER} convert modeling_size.py --out mine --check")[0] == 0, "the port is the same everywhere"


def test_a_path_that_is_no_utf_8(shell, tmp_path):
    library = load_source(LLAMA)
    assert not isinstance(library, Refused)
    text = library.text.replace("from ...", "from transformers.")
    text = text.replace("from .configuration_llama", "from transformers.models.llama.configuration_llama")
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/co\xffde"))
    folder.mkdir()
    (folder / "modeling_x.py").write_text(text)
    line = f"{PORTER} convert $'co\\xffde/modeling_x.py' --out $'po\\xffrts/mine'"
    code, out, err = shell(line)
    assert (code, err) == (0, ""), err
    code, out, err = shell(f"{line} --check --json")
    assert code == 0 and json.loads(out)["ok"], err
    code, out, err = shell(f"{PORTER} verify $'po\\xffrts/mine'")
    assert code == 1 and is_one_message(err, "P141"), err


@pytest.mark.parametrize("prompt", ["$'a\\xff'", "$'\\xed\\xa0\\x80'"], ids=["a stray byte", "half a character"])
def test_a_prompt_that_is_no_utf_8(shell, prompt):
    _, out, err = shell(f"{PORTER} run llama2 --model-path . --prompt {prompt} 2>err; grep -v running err >&2")
    assert out == "" and is_one_message(err, "P085") and "no Unicode text at character" in err, err


def test_names_too_long_for_a_file_are_names_of_no_file(tmp_path):
    (tmp_path / "modeling_x.py").write_text(f"from .{LONG} import one\n")
    source = load_source(str(tmp_path / "modeling_x.py"))
    assert not isinstance(source, Refused) and source.siblings == ()
    (tmp_path / "config.json").write_text(json.dumps({"auto_map": {"AutoModelForCausalLM": f"{LONG}.X"}}))
    refused = load_source(str(tmp_path))
    assert isinstance(refused, Refused) and refused.diagnostics[0].code == "P002"

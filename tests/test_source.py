"""From what the user names to the text of one modeling file, without importing anything."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from porter.diagnostics import Refused
from porter.report.diagnostic import render
from porter.source import Source, load_source

LLAMA = "transformers.models.llama"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "ckpt"
    folder.mkdir()
    (folder / "modeling_tiny.py").write_text("from .parts import Norm\nfrom .configuration_tiny import TinyConfig\n")
    (folder / "configuration_tiny.py").write_text("class TinyConfig: ...\n")
    (folder / "parts.py").write_text("from . import more\n")
    (folder / "more.py").write_text("x = 1\n")
    (folder / "unrelated.py").write_text("y = 1\n")
    return folder


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that must not be imported, on sys.path."""
    folder = tmp_path / "site" / "fakelib"
    (folder / "models" / "alpha").mkdir(parents=True)
    for init in (folder, folder / "models", folder / "models" / "alpha"):
        (init / "__init__.py").write_text("raise SystemExit('imported')\n")
    (folder / "models" / "alpha" / "modeling_alpha.py").write_text("x = 1\n")
    (folder / "models" / "alpha" / "modeling_tf_alpha.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(folder.parent)
    return folder


def _loaded(spec: object) -> Source:
    source = load_source(str(spec))
    assert isinstance(source, Source), render(source.diagnostics[0])
    return source


def _refusal(spec: object) -> str:
    refused = load_source(str(spec))
    assert isinstance(refused, Refused)
    (diagnostic,) = refused.diagnostics
    return render(diagnostic)


def test_a_module_of_transformers():
    source = _loaded(LLAMA)
    assert source.display == "llama/modeling_llama.py"
    assert source.module == "transformers.models.llama.modeling_llama"
    assert source.package == "transformers"
    assert source.version == source.made_under == importlib.metadata.version("transformers")
    assert source.sha256 == hashlib.sha256(source.path.read_bytes()).hexdigest()
    assert source.text == source.path.read_bytes().decode()
    assert source.configuration is not None and source.configuration.name == "configuration_llama.py"
    assert "class LlamaConfig" in source.configuration.text
    assert source.siblings == ()


def test_every_way_to_name_one_file_gives_one_source():
    source = _loaded(LLAMA)
    for spec in (f"{LLAMA}.modeling_llama", source.path, source.path.parent):
        assert _loaded(spec) == source


def test_nothing_is_imported():
    code = (
        "import sys; from porter.source import load_source; source = load_source('transformers.models.llama');"
        "load_source('transformers.models.lama');"
        "print(source.display, [name for name in sys.modules if name.split('.')[0] in ('torch', 'transformers')])"
    )
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stdout == "llama/modeling_llama.py []\n"


def test_a_package_is_found_and_not_run(package):
    source = _loaded("fakelib.models.alpha")
    assert (source.display, source.module) == ("alpha/modeling_alpha.py", "fakelib.models.alpha.modeling_alpha")
    assert (source.package, source.version) == ("fakelib", None)


def test_a_folder_without_init_is_a_package_too(package):
    folder = package / "loose"
    folder.mkdir()
    (folder / "modeling_loose.py").write_text("x = 1\n")
    assert _loaded("fakelib.loose").module == "fakelib.loose.modeling_loose"


def test_a_checkpoint_folder(checkpoint):
    source = _loaded(checkpoint)
    assert source.display == "ckpt/modeling_tiny.py"
    assert (source.module, source.package, source.version) == (None, None, None)
    assert source.configuration is not None and source.configuration.name == "configuration_tiny.py"
    assert [sibling.name for sibling in source.siblings] == ["configuration_tiny.py", "more.py", "parts.py"]


def test_a_file_that_does_not_parse_still_loads(checkpoint):
    (checkpoint / "modeling_tiny.py").write_text("def (:\n")
    assert _loaded(checkpoint).siblings == ()


def test_line_ends_are_kept(checkpoint):
    (checkpoint / "modeling_tiny.py").write_bytes(b"x = 1\r\n\x0cy = 2\r\n")
    assert _loaded(checkpoint).text == "x = 1\r\n\x0cy = 2\r\n"


@pytest.mark.parametrize(
    "auto_map",
    [
        {"AutoConfig": "configuration_tiny.TinyConfig", "AutoModelForCausalLM": "modeling_tiny.TinyForCausalLM"},
        {"AutoModel": "modeling_other.Other", "AutoModelForCausalLM": "modeling_tiny.TinyForCausalLM"},
        {"AutoModelForCausalLM": "someone/tiny--modeling_tiny.TinyForCausalLM"},
    ],
    ids=["a causal model", "a causal model before a bare one", "another repository's code that is here"],
)
def test_auto_map_chooses_among_several(checkpoint, auto_map):
    (checkpoint / "modeling_other.py").write_text("x = 1\n")
    (checkpoint / "config.json").write_text(json.dumps({"auto_map": auto_map}))
    assert _loaded(checkpoint).display == "ckpt/modeling_tiny.py"


def test_a_missing_module():
    assert _refusal("transformers.models.lama") == (
        "error[P001]: no module `transformers.models.lama`\n"
        "  = `transformers.models` has no `lama`\n"
        "  = help: did you mean `transformers.models.llama` or `transformers.models.mllama` or"
        " `transformers.models.llama4`?"
    )


def test_a_missing_parent_keeps_the_rest_of_the_name(package):
    assert _refusal("fakelib.model.alpha").endswith("= help: did you mean `fakelib.models.alpha`?")


def test_a_missing_package():
    assert _refusal("nosuchlib.models.x") == (
        "error[P001]: no package `nosuchlib` is installed here\n"
        "  = help: install it in this environment, or give the path of the modeling file"
    )


def test_a_member_of_a_module_is_no_module():
    assert _refusal(f"{LLAMA}.modeling_llama.LlamaModel").endswith(f"= help: name `{LLAMA}.modeling_llama`")


def test_a_missing_file(checkpoint):
    assert _refusal(checkpoint / "modeling_tine.py") == (
        f"error[P001]: no file or folder `{checkpoint}/modeling_tine.py`\n"
        f"  = help: did you mean `{checkpoint}/modeling_tiny.py`?"
    )


def test_a_file_in_a_missing_folder(tmp_path):
    assert _refusal(tmp_path / "no" / "x.py").endswith(f"= help: the folder `{tmp_path}/no` is not there either")


@pytest.mark.parametrize("spec", ["", "a b", "not-a-name", "a..b"])
def test_what_is_no_name_at_all(spec):
    assert _refusal(spec).startswith("error[P00")


def test_no_modeling_file(tmp_path):
    (tmp_path / "modeling_tf_x.py").write_text("x = 1\n")
    assert _refusal(tmp_path) == (
        f"error[P002]: `{tmp_path}` has no modeling file\n"
        f"  = looked for `modeling_*.py` in {tmp_path}\n"
        "  = help: give a folder with a `modeling_*.py`, or name the file itself"
    )


def test_a_checkpoint_that_runs_on_the_librarys_code(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    assert _refusal(tmp_path) == (
        f"error[P002]: `{tmp_path}` has no modeling file: its code is the library's\n"
        "  = config.json: model_type `llama`\n"
        "  = help: convert `transformers.models.llama`"
    )


@pytest.mark.parametrize(
    ("reference", "help"),
    [
        ("modeling_gone.Gone", "download the missing file"),
        ("a/b--modeling_gone.Gone", "download the code of `a/b` into the folder"),
        ("../ckpt/modeling_tiny.Tiny", "download the missing file"),
        ("Tiny", "download the missing file"),
    ],
    ids=["a missing file", "another repository", "a way out of the folder", "no file at all"],
)
def test_auto_map_names_what_is_not_there(checkpoint, reference, help):
    (checkpoint / "config.json").write_text(json.dumps({"auto_map": {"AutoModelForCausalLM": reference}}))
    assert _refusal(checkpoint) == (
        f"error[P002]: `{checkpoint}` lacks the modeling file it names\n"
        f"  = config.json says `{reference}` in auto_map\n"
        f"  = help: {help}"
    )


def test_several_modeling_files():
    several = "`transformers.models.esm.modeling_esm`, `transformers.models.esm.modeling_esmfold`"
    assert _refusal("transformers.models.esm") == (
        f"error[P003]: `transformers.models.esm` has 2 modeling files\n  = help: name one of them: {several}"
    )


def test_not_a_python_file(checkpoint):
    (checkpoint / "notes.txt").write_text("x")
    assert _refusal(checkpoint / "notes.txt").startswith(f"error[P004]: `{checkpoint}/notes.txt` is not a Python file")


def test_text_that_is_not_utf_8(checkpoint):
    (checkpoint / "modeling_tiny.py").write_bytes("x = 1\ny = 'é'\n".encode("latin-1"))
    assert _refusal(checkpoint) == (
        "error[P005]: `ckpt/modeling_tiny.py` is not UTF-8\n"
        " --> ckpt/modeling_tiny.py:2:6\n"
        "  = byte 0xe9: invalid continuation byte\n"
        "  = help: save it as UTF-8 without a byte order mark"
    )


def test_a_byte_order_mark(checkpoint):
    (checkpoint / "modeling_tiny.py").write_bytes(b"\xef\xbb\xbfx = 1\n")
    assert _refusal(checkpoint).startswith("error[P005]: a byte order mark\n --> ckpt/modeling_tiny.py:1:1\n")


@pytest.mark.parametrize("text", ["", " \n\t\n"])
def test_an_empty_file(checkpoint, text):
    (checkpoint / "modeling_tiny.py").write_text(text)
    assert _refusal(checkpoint).startswith("error[P006]: `ckpt/modeling_tiny.py` is empty")


def test_a_file_that_cannot_be_read(checkpoint, monkeypatch):
    def denied(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    path = checkpoint / "modeling_tiny.py"
    assert _refusal(checkpoint).startswith(f"error[P007]: cannot read `{path}`: Permission denied")


@pytest.mark.parametrize(("text", "where"), [('{"a": }', ":1:7"), ("[1]", ""), ("\udc80", "")])
def test_a_broken_config(checkpoint, text, where):
    (checkpoint / "config.json").write_text(text, errors="surrogateescape")
    refusal = _refusal(checkpoint)
    assert refusal.startswith(f"error[P008]: `{checkpoint}/config.json` is not a JSON object\n")
    assert where in refusal

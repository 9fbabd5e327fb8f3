"""porter from Python: the examples of its own docstring, as they stand, and its types in a client."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import subprocess
import sys
import venv
from pathlib import Path

import porter
from tests.cli.conftest import ROOT

CLIENT = """
from pathlib import Path

from porter.convert import convert
from porter.diagnostics import Refused
from porter.source import load_source

source = load_source("transformers.models.llama")
if not isinstance(source, Refused):
    ported = convert(source, name="mine")
    reveal_type(ported)
    convert(source, name=3)
"""


def test_the_examples_of_the_docstring(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if importlib.util.find_spec("deepspeed") is not None:
        importlib.import_module("deepspeed")  # it writes to stdout when it is imported
    failed, asked = doctest.testmod(porter)
    assert failed == 0 and asked > 20


def test_every_stage_has_an_example():
    document = porter.__doc__ or ""
    for name in ("load_source", "inspect", "convert", "emit", "check", "load_rules", "prove", "verify"):
        assert f"`{name}`" in document and f"{name}(" in document


def test_a_client_sees_the_types(tmp_path: Path):
    """As installed: in the site-packages of an environment, where mypy asks for `py.typed`."""
    venv.create(tmp_path / "env", with_pip=False)
    (site,) = (tmp_path / "env" / "lib").glob("python*/site-packages")
    (site / "porter.pth").write_text(f"{ROOT}\n")
    (tmp_path / "client.py").write_text(CLIENT)
    command = [sys.executable, "-m", "mypy", "--python-executable", str(tmp_path / "env" / "bin" / "python")]
    settings = tmp_path / "mypy.ini"
    settings.write_text("[mypy]\nignore_missing_imports = True\n")
    done = subprocess.run(
        [*command, "--config-file", str(settings), "client.py"], capture_output=True, text=True, cwd=tmp_path
    )
    assert "py.typed" not in done.stdout, done.stdout
    assert 'Revealed type is "porter.rewrite.' in done.stdout, done.stdout
    assert 'client.py:12: error: Argument "name" to "convert" has incompatible type "int"' in done.stdout, done.stdout

"""Files beside the source whose names a port needs for its own: taken along as they are, or refused; none is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from porter.convert import convert
from porter.diagnostics import Refused
from porter.emit import Written, check, emit
from porter.report.diagnostic import render
from porter.rewrite import Ported
from porter.runtime import load_model_class
from porter.source import load_source
from tests.engine.sources import text_of


@pytest.fixture
def folder(tmp_path):
    """A folder with Llama's code in `llama.py`, importing what is asked for, and the files that are given."""

    def write(imports: str, **files: str) -> Path:
        text = text_of("llama").replace("from ...", "from transformers.")
        text = text.replace("from .configuration_llama", "from transformers.models.llama.configuration_llama")
        (tmp_path / "code").mkdir()
        (tmp_path / "code" / "llama.py").write_text(f"{imports}\n{text}")
        for name, beside in files.items():
            (tmp_path / "code" / f"{name}.py").write_text(beside)
        return tmp_path / "code"

    return write


def _contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def _converted(code: Path, name: str = "mine") -> Ported | Refused:
    source = load_source(str(code / "llama.py"))
    assert not isinstance(source, Refused), source
    return convert(source, name=name)


def _written(code: Path) -> Path:
    ported = _converted(code)
    assert isinstance(ported, Ported), render(ported.diagnostics[0])
    out = code.parent / "ports" / "mine"
    assert isinstance(emit(ported, out), Written) and check(ported, out) == []
    return out


@pytest.mark.parametrize(
    ("imports", "files", "module"),
    [
        ("from .parts import ONE", {"parts": "ONE = 1\n"}, "modeling_llama"),
        ("from .modeling_llama import ONE", {"modeling_llama": "ONE = 1\n"}, "llama"),
        ("from .parts import ONE", {"parts": "from . import llama\n\nONE = 1\n"}, "llama"),
        ("from .port import ONE", {"port": "ONE = 1\n"}, "modeling_llama"),
        ("from .run_other import ONE", {"run_other": "ONE = 1\n"}, "modeling_llama"),
    ],
    ids=["no clash", "the name that a port would have", "one that imports the source", "port.py", "another run script"],
)
def test_what_goes_along_keeps_its_name_and_its_text(folder, imports, files, module):
    code = folder(imports, **files)
    before = _contents(code)
    out = _written(code)
    assert _contents(code) == before
    for name, text in files.items():
        assert (out / f"{name}.py").read_text() == text
    assert "torch_npu." in (out / f"{module}.py").read_text()
    model = load_model_class("mine", out.parent, trust_remote_code=True)
    assert model.__module__.endswith(f".mine.{module}")


@pytest.mark.parametrize(
    ("imports", "files", "says"),
    [
        ("from .run_mine import ONE", {"run_mine": "ONE = 1\n"}, "`run_mine.py` would stand in the port twice"),
        ("from .__init__ import ONE", {"__init__": "ONE = 1\n"}, "a port has an `__init__.py` of its own"),
        (
            "from .parts import ONE",
            {"parts": "from .run_mine import ONE\n", "run_mine": "ONE = 1\n"},
            "`run_mine.py` would stand in the port twice",
        ),
    ],
    ids=["the run script", "the package file", "at second hand"],
)
def test_a_name_that_a_port_cannot_give_up_is_refused(folder, imports, files, says):
    code = folder(imports, **files)
    before = _contents(code)
    refused = _converted(code)
    assert isinstance(refused, Refused)
    (diagnostic,) = refused.diagnostics
    assert diagnostic.code == "P143" and says in diagnostic.message and diagnostic.help
    assert _contents(code) == before
    if "run_mine" in files:
        assert isinstance(_converted(code, name="other"), Ported)


@pytest.mark.parametrize("there", ["", ".."])
def test_a_port_is_never_written_over_its_own_source(folder, there):
    code = folder("")
    ported = _converted(code)
    assert isinstance(ported, Ported)
    before = _contents(code)
    refused = emit(ported, code / there, force=True)
    assert isinstance(refused, Refused) and refused.diagnostics[0].code == "P143"
    assert _contents(code) == before and not list(code.parent.glob(".porter*"))

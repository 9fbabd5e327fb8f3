"""A port to check, converted here, and copies of it with one thing broken."""

import shutil
from pathlib import Path

import pytest

from porter.convert import convert
from porter.diagnostics import Refused
from porter.emit import emit
from porter.source import load_source


def make_port(folder: Path, module: str) -> Path:
    source = load_source(f"transformers.models.{module}")
    assert not isinstance(source, Refused), source
    ported = convert(source, name=module)
    assert not isinstance(ported, Refused), ported
    written = emit(ported, folder / module)
    assert not isinstance(written, Refused), written
    return folder / module


@pytest.fixture(scope="session")
def llama(tmp_path_factory) -> Path:
    return make_port(tmp_path_factory.mktemp("ports"), "llama")


@pytest.fixture(scope="session")
def mistral(tmp_path_factory) -> Path:
    return make_port(tmp_path_factory.mktemp("ports"), "mistral")


@pytest.fixture
def broken(llama, tmp_path):
    """A copy of the Llama port with `old` replaced by `new`; it must occur."""

    def copy(old: str, new: str, name: str = "broken") -> Path:
        place = tmp_path / name
        shutil.copytree(llama, place)
        file = place / "modeling_llama.py"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))
        return place

    return copy

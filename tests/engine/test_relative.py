"""Relative imports of a file outside any package: what lies beside it goes with the port, anything else is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from porter.convert import convert
from porter.diagnostics import Refused
from porter.report.diagnostic import render
from porter.rewrite import Ported
from porter.source import load_source
from tests.engine.sources import text_of

MODEL = text_of("llama").replace("from ...", "from transformers.")
CONFIGURATION = "from transformers import LlamaConfig\n"
BESIDE = "from .configuration_llama import LlamaConfig\n"


@pytest.fixture
def converted(tmp_path: Path):
    """The outcome for a folder with Llama's files, as transformers has them but for absolute imports, and `others`."""

    def run(old: str = "", new: str = "", **others: str) -> Ported | Refused:
        assert old in MODEL
        (tmp_path / "modeling_llama.py").write_text(MODEL.replace(old, new) if old else MODEL)
        for name, text in {"configuration_llama": CONFIGURATION, **others}.items():
            (tmp_path / f"{name}.py").write_text(text)
        source = load_source(str(tmp_path / "modeling_llama.py"))
        assert not isinstance(source, Refused)
        return convert(source, name="llama")

    return run


def test_a_file_beside_the_source_is_one_of_the_port(converted):
    ported = converted(BESIDE, f"{BESIDE}from . import more\n", more="from .parts import X\n", parts="X = 1\n")
    assert isinstance(ported, Ported)
    assert [item.name for item in ported.source.siblings] == ["configuration_llama.py", "more.py", "parts.py"]


@pytest.mark.parametrize(
    ("statement", "label"),
    [
        ("from .parts import X", "there is no `parts.py` beside this file"),
        ("from . import parts", "there is no `parts.py` beside this file"),
        ("from .folder.parts import X", "only files of the same folder go with a port"),
        ("from ..parts import X", "leads out of the file's folder, which no installed package holds"),
    ],
)
def test_what_is_not_beside_the_source_is_refused_with_its_line(converted, statement, label):
    outcome = converted(BESIDE, f"{BESIDE}{statement}\n")
    assert isinstance(outcome, Refused)
    (diagnostic,) = outcome.diagnostics
    assert (diagnostic.code, diagnostic.label) == ("P009", label)
    assert diagnostic.message == f"`{statement}` cannot work in a port"
    assert diagnostic.span is not None and diagnostic.span.line == MODEL[: MODEL.index(BESIDE)].count("\n") + 2


def test_many_lost_imports_are_one_message(converted):
    outcome = converted("from transformers.", "from ...")
    assert isinstance(outcome, Refused)
    (diagnostic,) = outcome.diagnostics
    assert diagnostic.message == "`from ...activations import ACT2FN` cannot work in a port"
    assert diagnostic.notes[0].startswith("nor can the imports of line 25, 26, ")


def test_an_import_lost_in_a_file_beside_is_shown_there(converted, tmp_path):
    outcome = converted(configuration_llama="from .base import LlamaConfig\n")
    assert isinstance(outcome, Refused)
    assert render(outcome.diagnostics[0]).startswith(
        "error[P009]: `from .base import LlamaConfig` cannot work in a port\n"
        f" --> {tmp_path}/configuration_llama.py:1:1\n  |\n1 | from .base import LlamaConfig\n"
    )


def test_an_import_that_may_fail_is_the_sources_own_affair(converted):
    guarded = f"{BESIDE}try:\n    from .fast import kernel\nexcept ImportError:\n    kernel = None\n"
    assert isinstance(converted(BESIDE, guarded), Ported)


def test_a_file_that_no_import_can_name_is_refused(converted, tmp_path):
    converted()
    place = (tmp_path / "modeling_llama.py").rename(tmp_path / "modeling_llama-2.py")
    source = load_source(str(place))
    assert not isinstance(source, Refused)
    outcome = convert(source, name="llama")
    assert isinstance(outcome, Refused)
    assert outcome.diagnostics[0].code == "P004" and outcome.diagnostics[0].help == "rename the file"

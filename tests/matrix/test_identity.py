"""What a result hangs on: a change of what has a say is another identity, a change of anything else is not."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from porter.diagnostics import Refused
from porter.matrix.identity import identities, identities_of, text_of
from porter.source import load_source

ROOT = Path(__file__).parents[2]
RUN = {"parity", "variants", "capture", "lowering", "graph"}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    place = tmp_path_factory.mktemp("porter")
    for name in ("porter", "rules", "templates"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    return place


def of(place):
    return identities_of(place / "porter", place / "rules", place / "templates")


def test_a_copy_has_the_identities_of_what_it_was_made_from(copy):
    assert of(copy) == of(copy) == identities()


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        ("rules/swiglu.py", {"port"}),
        ("rules/shared/identities.py", {"port"}),
        ("porter/match/unify.py", {"port"}),
        ("porter/convert.py", {"port"}),
        ("porter/npu/norm.py", RUN),
        ("porter/runtime/cache.py", RUN),
        ("porter/verify/tiny.json", RUN),
        ("porter/verify/prove.py", set()),
        ("porter/release/tested.json", set()),
        *((f"porter/release/{name}.py", {"port", *RUN}) for name in ("__init__", "tested", "window", "words")),
        ("porter/lowering/count.py", {"lowering", "graph"}),
        ("porter/runner/lengths.py", {"lowering", "graph"}),
        ("porter/runner/graph.py", set()),
        ("porter/graph/run.py", {"graph"}),
        ("porter/matrix/graphs.py", {"lowering", "graph"}),
        ("porter/matrix/findings.py", {"port", *RUN}),
        ("porter/cli/matrix.py", set()),
        ("porter/report/matrix.py", set()),
    ],
)
def test_what_a_change_of_a_file_changes(copy, file, changed):
    before, path = of(copy), copy / file
    text = path.read_text()
    path.write_text(text + "\n")
    after = of(copy)
    path.write_text(text)
    found = {level for level in RUN if after.running[level] != before.running[level]}
    found |= {"port"} if after.porting != before.porting else set()
    assert found == changed


def test_a_new_record_changes_nothing_and_new_code_does(copy):
    before, folder = of(copy), copy / "porter" / "release"
    (folder / "other.json").write_text("{}")
    assert of(copy) == before
    (folder / "other.py").write_text("")
    assert of(copy).porting != before.porting and of(copy).running["parity"] != before.running["parity"]
    for name in ("other.json", "other.py"):
        (folder / name).unlink()


def test_sources_and_ports_of_other_text_are_others():
    llama, mistral = (load_source(f"transformers.models.{name}") for name in ("llama", "mistral"))
    assert not isinstance(llama, Refused) and not isinstance(mistral, Refused)
    now = identities()
    assert now.of_port(llama) == now.of_port(llama) != now.of_port(mistral)
    assert now.of_port(llama) != now.of_port(replace(llama, configuration=mistral.configuration))
    assert text_of(llama, "code") == text_of(llama, "code")
    assert len({text_of(llama, "code"), text_of(llama, "other"), text_of(mistral, "code")}) == 3
    assert now.of_level("parity", "x") != now.of_level("parity", "y")
    assert now.of_level("parity", "x") != now.of_level("lowering", "x")

"""Whatever a source, a rule file, an account or a registry holds, the outcome is a value: never an exception.

A fixed number of drawn cases, the same ones at each run. `PORTER_FUZZ=50 pytest tests/engine/test_fuzz.py` draws fifty
times as many, others at each run.
"""

from __future__ import annotations

import ast
import json
import os
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from porter.convert import convert, inspect
from porter.diagnostics import Refused
from porter.emit import render_port
from porter.emit.account import read_account
from porter.emit.registry import ports_in, registry_text, tables_of, written_tables
from porter.report.diagnostic import render, to_json
from porter.report.known import inspection_data, of_inspection
from porter.rewrite import Ported
from porter.rulebook import LoadedRule, load_rule, load_rules
from porter.shipped import shipped
from porter.source import load_source
from tests.engine.mutations import mutated, mutated_bytes, mutated_json, recast
from tests.engine.sources import rules, source_of

MORE = int(os.environ.get("PORTER_FUZZ", "0"))
MODELS = ("llama", "qwen3", "mistral", "gemma", "gpt2", "mixtral", "phi")
PORT = Path(__file__).parents[2] / "generated_models" / "llama2"
RULES = sorted(shipped("rules").glob("*.py"))


def budget(examples: int) -> settings:
    return settings(
        max_examples=examples * (MORE or 1),
        derandomize=not MORE,
        database=None,
        deadline=None,
        phases=[Phase.generate],  # a seed does not shrink
        suppress_health_check=list(HealthCheck),
    )


seeds = st.integers(0, 2**48).map(Random)


def is_said(refused: Refused, text: str | None = None) -> None:
    """A refusal says what is wrong, in text and in JSON, and what to do."""
    assert refused.diagnostics
    for diagnostic in refused.diagnostics:
        assert diagnostic.message and diagnostic.help, diagnostic
        assert render(diagnostic, text) and json.dumps(to_json(diagnostic))
        if diagnostic.span is not None and text is not None:
            assert 1 <= diagnostic.span.line <= text.count("\n") + 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


# --- sources


def outcome_of(data: bytes, name: str, folder: Path) -> None:
    """Load, inspect and convert what a file holds."""
    path = folder / f"modeling_{name}.py"
    path.write_bytes(data)
    source = load_source(str(path))
    if isinstance(source, Refused):
        is_said(source)
        return
    seen = inspect(source, rules=rules())
    if isinstance(seen, Refused):
        is_said(seen)
    else:
        assert of_inspection(seen) and json.dumps(inspection_data(seen))
    ported = convert(source, name="mine", rules=rules())
    if isinstance(ported, Refused):
        is_said(ported)
        return
    assert isinstance(ported, Ported)
    files = render_port(ported, folder / "ports" / "mine").files
    for file, content in files.items():
        if file.endswith(".py"):
            compile(content, file, "exec", dont_inherit=True)
    assert json.loads(files["port.json"])["class"] == ported.causal_class


def text_of(model: str) -> str:
    text = source_of(model).text.replace("from ... import", "from transformers import")
    text = text.replace("from ...", "from transformers.")
    return text.replace("from .conf", f"from transformers.models.{model}.conf")


@budget(60)
@given(draw=seeds)
def test_sources_whose_parts_stand_in_each_others_place(folder, draw):
    model = draw.choice(MODELS)
    outcome_of(recast(text_of(model), draw).encode(), model, folder)


@budget(30)
@given(draw=seeds)
def test_sources_with_pieces_dropped_swapped_doubled_and_renamed(folder, draw):
    model = draw.choice(MODELS)
    outcome_of(mutated(text_of(model), draw).encode("utf-8", "surrogatepass"), model, folder)


@budget(20)
@given(draw=seeds)
def test_sources_with_bytes_flipped(folder, draw):
    outcome_of(mutated_bytes(text_of("llama").encode(), draw), "llama", folder)


# --- rule files


def loaded_with(place: Path, changed: str) -> tuple[LoadedRule, ...] | Refused:
    """The rules of a folder in which one file is not porter's own: the others are read once, and nothing is kept."""
    known = {rule.name: rule for rule in rules()}

    def loaded(path: Path, *args: Any, **options: Any) -> LoadedRule | Refused:
        return load_rule(path, *args, **options) if path.name == changed else known[path.stem]

    with mock.patch.multiple("porter.rulebook.load", load_rule=loaded, keep=mock.DEFAULT):
        return load_rules(place)


@budget(30)
@given(draw=seeds)
def test_rule_files(tmp_path_factory, draw):
    """A rule that loads is tried, too: on the model it was written for."""
    chosen = draw.choice(RULES)
    place = tmp_path_factory.mktemp("fuzz") / "rules"
    place.mkdir()
    (place / "shared").symlink_to(shipped("rules") / "shared")
    text = draw.choice((recast, mutated))(chosen.read_text(), draw)
    for path in RULES:
        if path != chosen:
            (place / path.name).symlink_to(path)
    (place / chosen.name).write_bytes(text.encode("utf-8", "surrogatepass"))
    loaded = loaded_with(place, chosen.name)
    if isinstance(loaded, Refused):
        is_said(loaded)
        assert all(diagnostic.span is not None for diagnostic in loaded.diagnostics)
        return
    outcome = convert(source_of("llama"), name="llama", rules=loaded)
    if isinstance(outcome, Refused):
        is_said(outcome)
    else:
        ast.parse(outcome.code)


@budget(20)
@given(draw=seeds)
def test_rule_files_with_bytes_flipped(tmp_path_factory, draw):
    place = tmp_path_factory.mktemp("fuzz") / "rules"
    place.mkdir()
    chosen = draw.choice(RULES)
    (place / chosen.name).write_bytes(mutated_bytes(chosen.read_bytes(), draw))
    loaded = load_rules(place)
    if isinstance(loaded, Refused):
        is_said(loaded)


# --- accounts and registries


@budget(150)
@given(draw=seeds)
def test_accounts(folder, draw):
    """What passes can be listed, written and read again; what does not is named."""
    place = folder / "accounts" / "llama2"
    place.mkdir(parents=True, exist_ok=True)
    (place / "port.json").write_bytes(mutated_json((PORT / "port.json").read_bytes(), draw))
    read = read_account(place)
    accounts, damaged = ports_in(place.parent)
    if isinstance(read, Refused):
        is_said(read)
        assert not accounts and damaged == read.diagnostics
    other = {**json.loads((PORT / "port.json").read_text()), "name": "other"}
    text = registry_text(place.parent, other)
    assert isinstance(text, str)
    (place.parent / "__init__.py").write_text(text, encoding="utf-8")
    (place.parent / "other").mkdir(exist_ok=True)
    written = written_tables(place.parent)
    assert written == tables_of({**accounts, "other": other})


@budget(100)
@given(draw=seeds)
def test_registries(folder, draw):
    place = folder / "registries"
    place.mkdir(exist_ok=True)
    (place / "__init__.py").write_bytes(mutated_bytes((PORT.parent / "__init__.py").read_bytes(), draw))
    tables = written_tables(place)
    if isinstance(tables, Refused):
        is_said(tables)
    else:
        assert all(isinstance(name, str) for table in tables for name in table)

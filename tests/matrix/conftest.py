"""The rules, once; and levels that are quick or fail on purpose, in place of the real ones: processes are forks."""

from __future__ import annotations

import pytest

from porter.diagnostics import Refused
from porter.matrix.findings import FIND
from porter.matrix.row import Row
from porter.matrix.run import run
from porter.rulebook import load_rules
from porter.shipped import shipped


@pytest.fixture(scope="session")
def rules():
    loaded = load_rules(shipped("rules"))
    assert not isinstance(loaded, Refused)
    return loaded


@pytest.fixture
def found(rules):
    """Rows of models by their names, and the levels that were run for them."""

    def find(*models, level="port", **asked):
        modules = [f"transformers.models.{model}.modeling_{model}" for model in models]
        told = list(run(modules, level=level, rules=rules, **asked))
        rows = {row.model: row for row in told if isinstance(row, Row)}
        return rows, [(one.model, one.level) for one in told if not isinstance(one, Row)]

    return find


@pytest.fixture
def replaced(monkeypatch):
    """Puts a function in the place of a level: it gives what the level finds, or does something bad."""

    def replace(level, function):
        monkeypatch.setitem(FIND, level, lambda task: function())

    return replace


@pytest.fixture
def quick(replaced):
    """Every level but the first gives an answer at once."""
    replaced("parity", lambda: {"outcome": "equal", "logits": 0.0, "tokens": "8 equal", "ops": {}})
    replaced("variants", lambda: {"outcome": "passed", "checks": 3, "configurations": 1})
    replaced("capture", lambda: {"outcome": "passed"})
    kernels = {phase: {"source": 60, "port": 13} for phase in ("prefill", "decode")}
    replaced("lowering", lambda: {"outcome": "converts", "kernels": kernels, "unconverted": {}})

"""The rules, once; and levels that are quick or fail on purpose, in place of the real ones: processes are forks."""

from __future__ import annotations

import os
import time
from types import SimpleNamespace

import pytest

from porter.diagnostics import Refused
from porter.matrix.levels import FIND
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


def is_running(pid):
    """A process that has ended and waits for its parent counts as ended."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def hang(tmp_path, monkeypatch):
    """Hangs; to whoever waits for it hours go by at every look, so that no test waits and nothing else is late."""
    note, now, hours = tmp_path / "hangs", time.monotonic, [0]

    def monotonic():
        if note.exists() and is_running(int(note.read_text() or 0)):
            hours[0] += 1
        return now() + 3600 * hours[0]

    def hang():
        note.write_text(str(os.getpid()))
        time.sleep(9999)

    monkeypatch.setattr("porter.matrix.processes.time", SimpleNamespace(monotonic=monotonic))
    return hang


@pytest.fixture
def quick(replaced):
    """Every level but the first gives an answer at once."""
    replaced("parity", lambda: {"outcome": "equal", "logits": 0.0, "tokens": "8 equal", "ops": {}})
    replaced("variants", lambda: {"outcome": "passed", "checks": 3, "configurations": 1})
    replaced("capture", lambda: {"outcome": "passed"})
    kernels = {phase: {"source": 60, "port": 13} for phase in ("prefill", "decode")}
    replaced("lowering", lambda: {"outcome": "converts", "kernels": kernels, "unconverted": {}})
    replaced("graph", lambda: {"outcome": "equal", "logits": 9e-07, "tokens": "0 differ"})

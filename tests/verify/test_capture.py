"""One graph a phase: what passes, and that each way of not being one is seen."""

import pytest

from porter.convert import convert
from porter.diagnostics import Refused
from porter.emit import emit
from porter.runtime import StaticKVCache
from porter.source import load_source
from porter.verify import capture as level
from porter.verify.capture import capture

CHECKS = [
    "graphs of a prefill",
    "graphs of a decode step",
    "recompiles",
    "tokens of eager steps",
    "host reads in the graphs",
    "host reads between steps",
]
MLP = "        hidden_states = self.mlp(hidden_states)\n"


@pytest.fixture
def short(monkeypatch):
    """A few unpadded steps: enough to see a fault."""
    monkeypatch.setattr(level, "STEPS", 4)
    monkeypatch.setattr(level, "MODES", ("unpadded",))


def failed(directory):
    return {check.name: check for check in capture(directory) if check.failed}


def test_a_port_is_one_graph_a_phase_padded_and_not(llama):
    told = []
    found = capture(llama, progress=lambda what, done, total: told.append(what))
    assert [(check.variant, check.name) for check in found] == [(mode, name) for mode in level.MODES for name in CHECKS]
    assert not [check for check in found if not check.passed]
    recompiles = next(check for check in found if check.name == "recompiles")
    assert (recompiles.figure, recompiles.detail) == (0, "64 decode steps")
    assert told == ["unpadded", "left padding", ""]


def test_a_branch_on_a_value_breaks_the_graph(broken, short):
    found = failed(broken(MLP, MLP + "        if hidden_states.sum() > 1e9:\n            raise ValueError\n"))
    assert list(found) == ["one graph a phase"]
    assert "data-dependent" in found["one graph a phase"].detail.lower()


def test_a_value_read_inside_the_graph_is_seen(broken, short):
    found = failed(broken(MLP, MLP + "        hidden_states = hidden_states + 0 * hidden_states.nonzero().sum()\n"))
    assert found["host reads in the graphs"].detail.startswith("aten.nonzero")


def test_a_count_on_the_host_recompiles(broken, short):
    counting = (
        "        self.steps = getattr(self, 'steps', 0) + 1\n        hidden_states = hidden_states + 0 * self.steps\n"
    )
    found = failed(broken(MLP, MLP + counting))
    assert found["recompiles"].figure >= 1


def test_a_host_read_between_steps_is_seen(llama, short, monkeypatch):
    reserve = StaticKVCache.reserve

    def waits(self, steps):
        self.cursor.positions[0].item()
        return reserve(self, steps)

    monkeypatch.setattr(StaticKVCache, "reserve", waits)
    found = failed(llama)
    assert list(found) == ["host reads between steps"]
    assert found["host reads between steps"].detail == "item"


def test_a_port_with_transformers_cache_is_not_applicable(tmp_path, short):
    source = load_source("transformers.models.llama")
    ported = convert(source, name="plain", without=("attention",))
    assert not isinstance(ported, Refused)
    assert not isinstance(emit(ported, tmp_path / "plain"), Refused)
    (check,) = capture(tmp_path / "plain")
    assert (check.outcome, check.detail[:31]) == ("not applicable", "the port keeps transformers' ow")


def test_a_folder_without_a_port_is_refused(tmp_path):
    assert isinstance(capture(tmp_path), Refused)

"""Nothing is left half-done, whatever fails and whenever the process is killed."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from porter.diagnostics import Refused
from porter.emit import Written, check, emit, swap
from porter.report.diagnostic import render

STEPS = ("rename", "replace", "fsync", "mkdir")


def _snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _refusal(outcome: object) -> str:
    assert isinstance(outcome, Refused)
    return render(outcome.diagnostics[0])


def _fail_at(monkeypatch, number: int) -> list[str]:
    """Make the `number`-th of all steps that touch the disk fail, as a full disk would; gives the steps taken."""
    taken: list[str] = []

    def failing(name: str):
        real = getattr(os, name)

        def step(*arguments, **options):
            taken.append(name)
            if len(taken) == number:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*arguments, **options)

        return step

    for name in STEPS:
        monkeypatch.setattr(os, name, failing(name))
    return taken


@pytest.mark.parametrize("exchanging", [True, False], ids=["exchange", "move aside"])
@pytest.mark.parametrize("existing", [True, False], ids=["replacing", "new"])
def test_a_fault_at_any_step_leaves_all_or_nothing(ported, other, out, existing, exchanging, monkeypatch):
    if not exchanging:
        monkeypatch.setattr(swap, "exchange", lambda one, other: False)
    if existing:
        emit(ported, out)
    root = out.parent.parent
    old = _snapshot(root)
    refused = 0
    for number in range(1, 100):
        with monkeypatch.context() as faulty:
            taken = _fail_at(faulty, number)
            outcome = emit(other, out, force=True)
        if isinstance(outcome, Refused):
            refused += 1
            assert "No space left on device" in _refusal(outcome)
            assert _snapshot(root) == old
            assert out.parent.exists() == existing, "folders made on the way are gone again"
            continue
        assert check(other, out) == []
        assert not list(out.parent.glob(".porter*"))
        if len(taken) < number:  # no step was left to fail
            break
        shutil.rmtree(out.parent)
        if existing:
            emit(ported, out)
    assert refused >= 9


def test_what_cannot_be_moved_back_is_not_thrown_away(ported, other, written, monkeypatch):
    before = _snapshot(written)
    monkeypatch.setattr(swap, "exchange", lambda one, other: False)
    real = os.rename

    def only_aside(source, target) -> None:
        if not Path(target).name.startswith(".porter-old-"):
            raise OSError(errno.EIO, "Input/output error")
        real(source, target)

    with monkeypatch.context() as faulty:
        faulty.setattr(os, "rename", only_aside)
        assert isinstance(emit(other, written, force=True), Refused)
    assert _snapshot(written.with_name(".porter-old-tiny2")) == before
    assert isinstance(emit(ported, written.with_name("next")), Written)
    assert _snapshot(written) == before, "the next run put it back"


def test_a_full_disk_says_where(ported, out, monkeypatch):
    _fail_at(monkeypatch, 4)
    refusal = _refusal(emit(ported, out))
    assert refusal.startswith(f"error[P074]: cannot write `{out}`: No space left on device\n")
    assert refusal.endswith("= help: nothing was changed")


def test_an_interrupt_is_passed_on_and_cleaned_up(other, written, monkeypatch):
    before = _snapshot(written.parent)

    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        emit(other, written, force=True)
    assert _snapshot(written.parent) == before


@pytest.mark.parametrize("exchanging", [True, False], ids=["exchange", "move aside"])
def test_a_kill_at_any_step_leaves_the_old_or_the_new(ported, other, out, exchanging, tmp_path):
    emit(ported, out)
    assert ported.split_points is not None
    other = replace(other, split_points=replace(ported.split_points, row_parallel=("mlp.lower",)))
    script = Path(__file__).with_name("kill_at_every_step.py")
    job = pickle.dumps((ported, other, out, exchanging))
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, script], input=job, capture_output=True, check=True, env=env)
    states = json.loads(done.stdout)
    assert all(states["readable"]), "who reads next finds a port and a registry that agree"
    assert {"old", "new"} <= set(states["killed"])
    if exchanging:
        assert "neither" not in states["killed"]
    assert set(states["settled"]) <= {"old", "new"}, "the next run puts right what the killed one left"
    assert states["left_over"] == []


def test_exchange_where_the_system_has_it(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    (one / "a").write_text("1")
    if not swap.exchange(one, two):
        pytest.skip("this file system cannot exchange two names")
    assert (two / "a").read_text() == "1" and not list(one.iterdir())


def test_exchange_reports_other_errors(tmp_path):
    with pytest.raises(FileNotFoundError):
        swap.exchange(tmp_path / "none", tmp_path / "neither")

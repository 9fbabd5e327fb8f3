"""Runs of the matrix: which levels are run for a row, what stays known, and what one bad model costs."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import pytest

from porter.matrix import identity
from porter.matrix.processes import Limits
from porter.matrix.row import LEVELS, worse


def test_a_model_goes_through_the_levels(found):
    """The real ones, on a real model; what each claims has tests of its own."""
    rows, began = found("llama", "doge", "whisper", level="capture", jobs=2)
    llama, gemma, whisper = rows["llama"], rows["doge"], rows["whisper"]
    assert llama.whole and llama.parity["outcome"] == "equal" and llama.parity["tokens"] == "8 equal"
    assert llama.parity["ops"]["npu_fused_infer_attention_score"] == 2
    assert llama.variants["outcome"] == "passed" and llama.variants["checks"] > 150
    assert llama.capture["outcome"] == "passed" and llama.capture["graphs of a prefill"] == 1
    assert llama.capture["graphs of a decode step"] == 1 and llama.capture["recompiles"] == 0
    assert not gemma.whole and gemma.parity["outcome"] == "equal" and gemma.capture is None
    assert whisper.outcome == "refused" and whisper.refusal["code"] == "P103" and whisper.parity is None
    assert set(began) == {
        *(("llama", level) for level in LEVELS[:4]),
        *(("doge", level) for level in LEVELS[:2]),
        ("whisper", "port"),
    }


def test_a_level_includes_those_before_it_and_the_last_ones_are_for_whole_files(found, quick):
    for level in LEVELS:
        rows, _ = found("llama", "doge", level=level)
        asked = LEVELS[1 : LEVELS.index(level) + 1]
        assert [each for each in LEVELS[1:] if getattr(rows["llama"], each)] == list(asked)
        assert [each for each in LEVELS[1:] if getattr(rows["doge"], each)] == list(asked[:1])
    rows, _ = found("doge", level="lowering", everything=True)
    assert rows["doge"].lowering["outcome"] == "converts"


def test_what_does_not_convert_has_no_graph(found, quick, replaced):
    replaced("lowering", lambda: {"outcome": "does not convert", "kernels": {}, "unconverted": {}})
    rows, began = found("llama", level="graph")
    assert rows["llama"].graph is None and ("llama", "graph") not in began


def test_what_is_known_is_not_found_again(found, quick):
    rows, _ = found("llama", "whisper", level=LEVELS[-1])
    for level in LEVELS:
        again, began = found("llama", "whisper", level=level, known=rows)
        assert (again, began) == (rows, [])
    more, began = found("llama", "doge", "whisper", level="parity", known=rows)
    assert began == [("doge", "port"), ("doge", "parity")] and more["llama"] is rows["llama"]


def test_a_higher_level_is_found_without_the_lower_ones(found, quick):
    rows, _ = found("llama", level="parity")
    more, began = found("llama", level="lowering", known=rows)
    assert began == [("llama", level) for level in ("port", "variants", "capture", "lowering")]
    assert more["llama"].parity == rows["llama"].parity and worse(more["llama"], rows["llama"]) == ()


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        ({"porting": "other rules"}, ["port"]),  # and the port's text is the same
        ({"running": dict.fromkeys(LEVELS[1:], "changed")}, list(LEVELS)),
    ],
    ids=["rules or what reads them", "what a port runs on"],
)
def test_what_changed_is_found_again(found, quick, monkeypatch, changed, again):
    rows, _ = found("llama", level=LEVELS[-1])
    now = replace(identity.identities(), **changed)
    monkeypatch.setattr("porter.matrix.levels.identities", lambda: now)
    monkeypatch.setattr("porter.matrix.findings.identities", lambda: now)
    _, began = found("llama", level=LEVELS[-1], known=rows)
    assert began == [("llama", level) for level in again]


def test_a_level_that_no_longer_holds_is_not_said_of_the_row(found, quick, monkeypatch):
    rows, _ = found("llama", level="lowering")
    now = replace(identity.identities(), porting="x", running=dict.fromkeys(LEVELS[1:], "changed"))
    monkeypatch.setattr("porter.matrix.levels.identities", lambda: now)
    monkeypatch.setattr("porter.matrix.findings.identities", lambda: now)
    again, _ = found("llama", level="parity", known=rows)
    assert again["llama"].parity and again["llama"].capture is None and again["llama"].lowering is None


def test_another_source_is_another_identity(found, quick, monkeypatch):
    rows, _ = found("llama", level="parity")
    row = rows["llama"]
    known = {"llama": replace(row, identity={**row.identity, "port": "of another text"})}
    _, began = found("llama", level="parity", known=known)
    assert began == [("llama", "port")]  # the port came out as it was, so what running it showed stays
    known = {"llama": replace(row, identity={"port": "of another text", "text": "another", "parity": "of another"})}
    _, began = found("llama", level="parity", known=known)
    assert began == [("llama", "port"), ("llama", "parity")]


LIMITS = Limits(seconds=1800, memory=3)


def raises():
    raise ZeroDivisionError("of a model")


def has_no_memory():
    bytearray(4 << 30)


@pytest.mark.parametrize(
    ("does", "said"),
    [
        (raises, "ZeroDivisionError: of a model (test_run.py:"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "the process died by SIGKILL"),
        (has_no_memory, "MemoryError"),
    ],
    ids=["raises", "dies", "eats memory"],
)
def test_one_bad_level_costs_that_level_of_that_model(found, quick, replaced, does, said):
    replaced("capture", does)
    is_lost(found("llama", "doge", level="lowering", jobs=2, limits=LIMITS), said)


def test_a_level_that_hangs_costs_that_level_of_that_model(found, quick, replaced, hang):
    replaced("capture", hang)
    is_lost(found("llama", "doge", level="lowering", jobs=1, limits=LIMITS), "no answer in 1800 s")


def is_lost(found, said):
    rows, _ = found
    bad = rows["llama"]
    assert bad.failure["level"] == "capture" and said in bad.failure["what"], bad.failure
    assert bad.whole and bad.parity["outcome"] == "equal" and bad.lowering is None
    assert rows["doge"].parity["outcome"] == "equal" and rows["doge"].failure is None


def test_what_gave_no_answer_is_asked_again(found, quick, replaced):
    replaced("capture", raises)
    rows, _ = found("llama", level="capture")
    _, began = found("llama", level="capture", known=rows)
    assert began == [("llama", "port"), ("llama", "capture")]
    less, _ = found("llama", level="parity", known=rows)
    assert less["llama"].failure is None, "what is not asked for does not stay unanswered"


def test_a_conversion_that_fails_is_a_row(found, monkeypatch):
    monkeypatch.setattr("porter.matrix.findings.convert", lambda *arguments, **options: raises())
    rows, _ = found("llama")
    assert rows["llama"].outcome == "crashed" and not rows["llama"].whole
    assert rows["llama"].failure["what"].startswith("ZeroDivisionError: of a model")

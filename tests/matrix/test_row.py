"""Rows: the sums they give, what they are on disk, and when one is worse than another."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from porter.diagnostics import Refused
from porter.matrix.findings import accounts
from porter.matrix.record import CannotWrite, Record, read_record
from porter.matrix.row import Row, is_wrong, lacks, row_data, row_of, worse
from porter.plan import SiteReport
from porter.report.blocks import plain
from porter.report.matrix import of_matrix, of_row

EQUAL = {"outcome": "equal", "logits": 5e-07, "tokens": "8 equal", "ops": {"npu_rms_norm": 9}}
CHECKED = {"outcome": "passed", "checks": 199, "configurations": 12}
KERNELS = {"prefill": {"source": 67, "port": 13}, "decode": {"source": 63, "port": 13}}
LOWERED = {"outcome": "converts", "kernels": KERNELS, "unconverted": {}, "torch_npu": "2.13.0"}


EXECUTED = {"outcome": "equal", "logits": 9e-07, "tokens": "0 differ", "torch_npu": "2.13.0"}


def site(name, kind, status):
    return SiteReport(name, kind, 1, status, (), None)


SITES = (
    *(site("A.forward", "norm", "ported"), site("B.forward", "norm", "verdict"), site("C.forward", "mlp", "left")),
    *(site("D.forward", "attention", "partly"), site("E", "unknown", "left")),
)
ROW = Row("tiny", "transformers.models.tiny.modeling_tiny", "converted", **accounts(SITES), parity=EQUAL)
WHOLE = replace(ROW, **accounts(SITES[:2]), variants=CHECKED, capture={"outcome": "passed"}, lowering=LOWERED)
REFUSED = Row("no", "transformers.models.no.modeling_no", "refused", refusal={"code": "P103", "message": "no rule"})
CRASHED = Row("tiny", ROW.module, failure={"level": "port", "what": "the process died"})


def test_sites_are_counted_by_kind_and_status():
    assert ROW.sites["norm"] == {"ported": 1, "verdict": 1} and ROW.sites["attention"] == {"partly": 1}
    assert ROW.open == {"C.forward": "left", "D.forward": "partly", "E": "unknown"}
    assert (ROW.count("ported"), ROW.count("verdict"), ROW.left, ROW.unknown) == (1, 1, 2, 1)


def test_whole_is_ported_or_with_a_verdict_and_nothing_unknown():
    assert WHOLE.whole and not ROW.whole and not REFUSED.whole and not CRASHED.whole
    for status in ("left", "partly", "kept"):
        assert not replace(ROW, **accounts([site("A", "norm", status)])).whole
    assert not replace(ROW, **accounts([site("A", "unknown", "ported")])).whole


def test_what_is_wrong():
    assert [is_wrong(row) for row in (ROW, WHOLE, REFUSED, CRASHED)] == [False, False, False, True]
    assert is_wrong(replace(ROW, parity={**EQUAL, "outcome": "different"}))
    assert is_wrong(replace(WHOLE, graph={**EXECUTED, "outcome": "different"}))
    assert not is_wrong(replace(WHOLE, graph={"outcome": "not executed", "detail": "prefill: no kernel for `X`"}))
    assert is_wrong(replace(ROW, failure={"level": "capture", "what": "no answer in 1 s"}))


@pytest.mark.parametrize("row", [ROW, WHOLE, REFUSED, CRASHED], ids=["converted", "whole", "refused", "crashed"])
def test_a_row_comes_back_from_disk_as_it_was(row, tmp_path):
    assert row_of(json.loads(json.dumps(row_data(row)))) == row
    assert row_data(row)["whole"] is row.whole
    record = Record(tmp_path / "rows.json", {})
    record.keep(row)
    assert read_record(tmp_path / "rows.json") == {row.model: row}
    assert [path.name for path in tmp_path.iterdir()] == ["rows.json"]


def test_a_record_that_cannot_be_written_is_as_it_was(tmp_path, monkeypatch):
    record = Record(tmp_path / "rows.json", {})
    record.keep(ROW)
    before = (tmp_path / "rows.json").read_bytes()
    monkeypatch.setattr("porter.emit.swap.os.fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(CannotWrite, match="full"):
        record.keep(REFUSED)
    assert (tmp_path / "rows.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["rows.json"]


@pytest.mark.parametrize(
    "text",
    [
        *("", "{}", "[]", "null", '{"format": 0, "rows": []}', '{"format": 1}', '{"format": 1, "rows": [1]}'),
        *(f'{{"format": 1, "rows": [{row}]}}' for row in ('{"model": "x"}', '{"model": "x", "module": "x", "y": 1}')),
    ],
)
def test_a_file_that_is_no_record_is_refused(text, tmp_path):
    (tmp_path / "x.json").write_text(text)
    refused = read_record(tmp_path / "x.json")
    assert isinstance(refused, Refused) and refused.diagnostics[0].code == "P152" and refused.diagnostics[0].help


def lowered(**kernels):
    return replace(WHOLE, lowering={**LOWERED, "kernels": {**KERNELS, **kernels}})


def told(count):
    return replace(WHOLE, lowering={**LOWERED, "lengths": {"decode": {"attention": 3, "told": count}}})


@pytest.mark.parametrize(
    ("now", "then", "said"),
    [
        (REFUSED, ROW, "was converted, is refused: [P103] no rule"),
        (CRASHED, ROW, "was converted, is crashed: port: the process died"),
        (CRASHED, REFUSED, "was refused, is crashed: port: the process died"),
        (replace(ROW, failure={"level": "parity", "what": "hangs"}), ROW, "parity: hangs"),
        (replace(ROW, parity={**EQUAL, "outcome": "different"}), ROW, "parity: was equal, is different"),
        (replace(WHOLE, capture={"outcome": "failed", "detail": "a break"}), WHOLE, "was passed, is failed: a break"),
        (replace(WHOLE, variants={"outcome": "failed", "detail": "x"}), WHOLE, "variants: was passed, is failed: x"),
        (lowered(decode={"source": 63, "port": 14}), WHOLE, "lowering: decode had 13 kernels a layer, has 14"),
        (told(2), told(3), "lowering: decode told every attention how much of the cache to read, tells 2 of 3"),
        (replace(WHOLE, **accounts(SITES[:1])), WHOLE, "norm: 2 sites were ported or had a verdict, 1 now"),
        (replace(WHOLE, **accounts([*SITES[:2], SITES[4]])), WHOLE, "was whole, is not: E is unknown"),
        (replace(ROW, **accounts([*SITES, site("F", "mlp", "left")])), ROW, "mlp: 1 sites were left, 2 now"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_row_is_worse(now, then, said):
    assert any(said in respect for respect in worse(now, then)), worse(now, then)
    assert worse(then, now) == (), "the other way round it is better"


@pytest.mark.parametrize(
    ("now", "then"),
    [
        (ROW, ROW),
        (WHOLE, ROW),
        (ROW, CRASHED),
        (ROW, REFUSED),
        (replace(WHOLE, variants=None, capture=None, lowering=None), WHOLE),  # levels that were not asked for
        (lowered(prefill={"source": 70, "port": 12}), WHOLE),
        (replace(ROW, **accounts([site("A", "norm", "verdict"), *SITES[1:]])), ROW),  # ported or right as it is
    ],
    ids=range(7),
)
def test_a_row_is_not_worse(now, then):
    assert worse(now, then) == ()


def test_what_is_no_longer_known():
    assert lacks(replace(WHOLE, lowering=None), WHOLE, "lowering") and not lacks(WHOLE, WHOLE, "lowering")
    assert not lacks(replace(ROW, lowering=None), WHOLE, "lowering"), "it is said that the row is not whole"
    assert not lacks(WHOLE, replace(WHOLE, lowering=None), "lowering")


def test_the_table_says_what_is_known_of_each_row():
    rows = [ROW, replace(WHOLE, model="mine"), REFUSED, replace(CRASHED, model="gone")]
    text = plain(of_matrix(rows, verbose=True))
    lines = [" ".join(line.split()) for line in text.split("\n")]
    assert "tiny no 1 1 2 1 equal 5e-07 - - - -" in lines
    assert "mine yes 1 1 0 0 equal 5e-07 199 checks passed 67 -> 13 63 -> 13" in lines
    assert "no P103 no rule" in lines and "gone port the process died" in lines
    assert "4 files: 2 converted, 1 refused, 1 crashed; 1 whole: nothing is left or unknown" in lines
    assert "parity: 2 equal" in lines and any(line.endswith("kernel: not run") for line in lines)
    assert lines[-1] == "gone port the process died", "what failed stands at the end"
    assert max(map(len, text.split("\n"))) <= 110
    port_only = plain(of_matrix([replace(ROW, parity=None)], verbose=True))
    assert "parity" not in port_only and "kernel" not in port_only


def test_executed_graphs_have_a_column():
    stopped = {"outcome": "not executed", "detail": "prefill: no kernel for `X` (modeling_x.py:3)"}
    rows = [replace(WHOLE, graph=EXECUTED), replace(WHOLE, model="mine", graph=stopped), ROW]
    text = plain(of_matrix(rows, verbose=True))
    assert "  equal 9e-07\n" in text and "  not executed\n" in text
    assert "graph: 1 equal, 1 not executed" in text.split("\n")
    was = replace(WHOLE, graph=EXECUTED)
    assert worse(replace(WHOLE, graph=stopped), was) == (f"graph: was equal, is not executed: {stopped['detail']}",)
    assert worse(was, replace(WHOLE, graph=stopped)) == ()


def test_a_source_that_does_not_lower_is_no_number():
    row = lowered(prefill={"source": None, "port": 20})
    assert "no -> 20" in plain(of_matrix([row], verbose=True))


def test_a_row_in_a_few_words():
    assert of_row(replace(WHOLE, seconds={"port": 0.4, "parity": 1.0})) == (
        "tiny: whole, parity equal, variants passed, capture passed, lowering converts, 1.4 s"
    )
    assert of_row(ROW).startswith("tiny: 3 of 5 sites open, parity equal, ")
    assert of_row(REFUSED) == "no: refused [P103], 0.0 s" and "port: the process died" in of_row(CRASHED)

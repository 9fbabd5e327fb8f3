"""The page `ops`: its tables are what the contracts of `porter/npu` answer, and its ops are those that ports use."""

from __future__ import annotations

import json

import pytest

from porter.npu import implemented
from porter.npu.chip import CHIPS
from tests.pages.blocks import ROOT
from tests.pages.limits import LIMITS, Limit
from tests.pages.op_calls import CALLS, refusal

ROWS = json.loads((ROOT / "tests" / "ports" / "matrix.json").read_text())["rows"]
OVER_RANKS = "npu_mm_all_reduce_base"


def test_the_ops_are_those_that_ports_call():
    called = {op for row in ROWS for op in (row.get("parity") or {}).get("ops", ())}
    assert set(CALLS) == {*called, OVER_RANKS} <= set(implemented())


def of_chips(limit: Limit) -> str:
    return f"{limit.op} {limit.argument}: {limit.said}"


@pytest.mark.parametrize("limit", LIMITS, ids=of_chips)
def test_a_limit_is_where_the_page_says(limit):
    fits, breaks = limit.calls()
    for chip in limit.chips:
        assert refusal(fits, chip) is None
        for call in breaks:
            error = refusal(call, chip)
            assert error is not None and (error.op, error.argument) == (limit.op, limit.argument), error


def test_each_op_has_a_limit_and_each_chip_is_spoken_of():
    assert {limit.op for limit in LIMITS} == set(CALLS)
    assert {chip for limit in LIMITS for chip in limit.chips} == set(CHIPS)

"""Every op that the checked-in ports use, made wrong on purpose: it is found, and no other op is named."""

from dataclasses import replace

import pytest

from porter.accept.draws import draw
from porter.accept.forbidden import _WRONG, forbidden_calls, refusals
from porter.accept.ops import probe_op
from porter.accept.probe import AGREES, DIFFERS, NOTED
from porter.accept.record import outcome_of
from porter.accept.sides import Sides
from tests.accept.conftest import PORTS, calls_at, sides
from tests.accept.wrong import FAULTS


@pytest.fixture(autouse=True)
def one_call(monkeypatch):
    """How long a call takes is no matter here."""
    monkeypatch.setattr(Sides, "milliseconds", lambda *_: 1.0)


def outcomes(name, **stand_ins):
    """Op -> what its probe came to, on a device with these stand-ins."""
    found = {}
    for op in dict.fromkeys(call.op for call in calls_at(name)):
        entries = []
        probe_op(op, [call for call in calls_at(name) if call.op == op], sides(**stand_ins), entries.append)
        found[op.partition("::")[2]] = outcome_of(entries)
    return found


def port_with(op):
    return next(name for name in PORTS if any(call.name == op for call in calls_at(name)))


def test_every_op_of_every_port_has_a_fault():
    assert {call.name for name in PORTS for call in calls_at(name)} == FAULTS.keys()


@pytest.mark.parametrize("name", PORTS)
def test_a_right_device_agrees_in_every_op(name):
    assert set(outcomes(name).values()) == {AGREES}


@pytest.mark.parametrize(("op", "fault"), [(op, fault) for op, faults in FAULTS.items() for fault in faults])
def test_a_wrong_op_is_named_and_no_other(op, fault):
    found = outcomes(port_with(op), **{op: FAULTS[op][fault]})
    assert {name for name, outcome in found.items() if outcome == DIFFERS} == {op}


@pytest.mark.parametrize("op", [op for op in FAULTS if op in _WRONG])
def test_what_the_contract_forbids_is_refused_here_and_noted_where_it_is_taken(op):
    call = next(call for call in calls_at(port_with(op)) if call.name == op)
    values = draw(call)
    entries = list(refusals(call.op, values, call.positional, sides()))
    assert [entry["forbidden"] for entry in entries] and {entry["outcome"] for entry in entries} == {AGREES}
    asked = list(forbidden_calls(op, values))
    assert len(entries) == len(asked) >= len(_WRONG[op]), "one of the calls is allowed: it shows nothing"

    lenient = sides(**{op: lambda right, given: given})
    assert {entry["outcome"] for entry in refusals(call.op, values, call.positional, lenient)} == {NOTED}


def test_a_device_that_refuses_a_valid_call_differs_and_says_so():
    def refuses(right, given):
        raise RuntimeError("aclnnRotaryMul: error 561002")

    (call, *_) = [call for call in calls_at("llama2") if call.name == "npu_rotary_mul"]
    entries = []
    probe_op(call.op, [call], sides(npu_rotary_mul=refuses), entries.append)
    assert entries[0]["outcome"] == DIFFERS and "refused, though the contract allows it" in entries[0]["detail"]
    assert "561002" in entries[0]["detail"]


def test_a_call_that_the_chip_forbids_differs_and_says_what_the_device_does():
    (call, *_) = [call for call in calls_at("llama2") if call.name == "npu_rms_norm"]
    entries = []
    probe_op(call.op, [call], replace(sides(), stands_for="Ascend310P"), entries.append)
    assert entries[0]["outcome"] == DIFFERS and "bfloat16 on Ascend310P" in entries[0]["contract"]
    assert "refused" in entries[0]["detail"]


def test_other_bits_within_the_rule_are_counted_and_agree():
    def last_bit(right, given):
        wide = right(**{**given, "input": given["input"].float()})
        return (wide * (1 + 2**-9)).to(given["input"].dtype)

    (call, *_) = [call for call in calls_at("llama2") if call.name == "npu_swiglu"]
    entries = []
    probe_op(call.op, [call], sides(npu_swiglu=last_bit), entries.append)
    assert entries[0]["outcome"] == AGREES and entries[0]["figures"]["bfloat16"]["differing"] > 0.1

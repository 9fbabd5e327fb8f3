"""The real torch_npu takes each call of a port and gives what porter's kernel gives; what it does not is found."""

from dataclasses import replace
from functools import cache

import pytest
import torch

from porter.accept import wheel as asking
from porter.accept.plan import Asked, _wheel
from porter.accept.probe import AGREES, DIFFERS, NOT_RUN, NOTED, WHEEL
from porter.accept.sides import Sides
from porter.accept.wheel import by_the_wheel, graph_by_the_wheel
from porter.diagnostics import refused
from porter.lowering.count import Phase, Place, Unconverted
from porter.lowering.lower import Lowering
from porter.lowering.process import ask
from tests.accept.conftest import calls_at, port_of, sides
from tests.accept.wrong import on_result
from tests.lowering.conftest import need_wheel


@cache
def calls():
    """Those of DeepSeek, Llama's gate, and last a norm with an argument that it does not have."""
    named = {call.name: call for call in calls_at("llama2")}
    norm, swiglu = named["npu_rms_norm"], named["npu_swiglu"]
    return (*calls_at("deepseek_v3"), swiglu, replace(norm, arguments={**norm.arguments, "eps": 1e-6}))


@pytest.fixture(scope="module")
def answer():
    """What the wheel says to `calls()`, asked once."""
    need_wheel()
    told = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(asking, "ask", lambda *asked: told.append(ask(*asked)) or told[0])
        by_the_wheel(calls(), sides(), lambda entry: None)
    return told[0]


@pytest.fixture
def say(answer, monkeypatch):
    """All entries, with these sides."""

    def entries(own):
        said = []
        monkeypatch.setattr(asking, "ask", lambda *_: answer)
        by_the_wheel(calls(), own, said.append)
        return said

    return entries


def test_the_wheel_takes_each_call_of_a_port_and_refuses_an_argument_that_it_does_not_have(say):
    *said, last = say(sides())
    assert {entry["outcome"] for entry in said} == {AGREES}
    of_the_wheel = [call.name for call in calls() if call.op.startswith("npu::")]
    assert {entry["call"].partition(":")[0] for entry in said} == set(of_the_wheel)
    assert len(said) + 1 == len(set(of_the_wheel)) + len(of_the_wheel)
    assert last["outcome"] == DIFFERS and "torch_npu refuses it" in last["detail"] and "eps" in last["detail"]


def test_a_kernel_that_gives_another_dtype_is_found(say):
    *said, _ = say(sides(npu_swiglu=on_result(lambda values: values.float())))
    wrong = [entry for entry in said if entry["outcome"] == DIFFERS]
    assert wrong and {entry["call"].partition(":")[0] for entry in wrong} == {"npu_swiglu"}
    assert "torch_npu gives bfloat16" in wrong[-1]["detail"] and "porter's kernel float32" in wrong[-1]["detail"]


def test_another_schema_is_noted(say, answer, monkeypatch):
    monkeypatch.setitem(answer["schemas"], "npu_swiglu", "npu::npu_swiglu(Tensor self) -> Tensor")
    (noted,) = (entry for entry in say(sides()) if entry["outcome"] == NOTED)
    assert noted["call"] == "npu_swiglu: schema" and "torch_npu's is `npu::npu_swiglu(Tensor self)" in noted["detail"]


def test_a_port_without_such_calls_is_not_asked_about():
    said = []
    by_the_wheel((), sides(), said.append)
    assert [(entry["outcome"], entry["detail"]) for entry in said] == [(NOT_RUN, "the port calls no op of torch_npu")]


@pytest.mark.parametrize("converts", [True, False])
def test_a_graph_that_does_not_convert_differs(monkeypatch, converts):
    failure = None if converts else Unconverted("aten.erfinv.default", "not implemented", Place("m.py:7", "y"))
    found = Lowering("llama2", "Ascend910B3", "2.13.0", "stand-in", (Phase("prefill", failure, 9, ({"MatMul": 2},)),))
    monkeypatch.setattr(asking, "lower", lambda *_, **__: found)
    said = []
    graph_by_the_wheel(port_of("llama2"), said.append)
    detail = "2 kernels a layer" if converts else "aten.erfinv.default: not implemented (m.py:7)"
    assert said == [{"call": "prefill", "outcome": AGREES if converts else DIFFERS, "detail": detail}]


def test_a_port_that_keeps_its_source_s_cache_is_not_lowered(monkeypatch):
    port = replace(port_of("llama2"))
    monkeypatch.setattr(type(port), "load_class", lambda self: torch.nn.Module)
    said = []
    graph_by_the_wheel(port, said.append)
    assert [entry["outcome"] for entry in said] == [NOT_RUN] and "KV cache" in said[0]["detail"]


def test_without_a_wheel_it_is_not_run_and_says_why(monkeypatch):
    monkeypatch.setattr(asking, "ask", lambda *_: refused("P110", "no torch_npu here", "install it"))
    monkeypatch.setattr(asking, "lower", lambda *_, **__: refused("P110", "no torch_npu here", "install it"))
    said = []
    by_the_wheel(calls_at("llama2"), sides(), said.append)
    graph_by_the_wheel(port_of("llama2"), said.append)
    assert [(each["outcome"], each["detail"]) for each in said] == [(NOT_RUN, "no torch_npu here")] * 2


def test_it_is_asked_where_there_is_no_device():
    port = port_of("llama2")
    there = [list(_wheel((), Asked(port, Sides(torch.device(kind), "Ascend910B"), None))) for kind in ("cpu", "meta")]
    assert [[probe.part for probe in probes] for probes in there] == [[WHEEL, WHEEL], []]

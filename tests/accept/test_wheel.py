"""The real torch_npu takes each call of a port and gives what porter's kernel gives; what it does not is found."""

from dataclasses import replace

import pytest
import torch

from porter.accept import wheel as asking
from porter.accept.plan import Asked, _wheel
from porter.accept.probe import AGREES, DIFFERS, NOT_RUN, WHEEL
from porter.accept.sides import Sides
from porter.accept.wheel import by_the_wheel, graph_by_the_wheel
from porter.diagnostics import refused
from tests.accept.conftest import MODELS, calls_at, port_of, sides
from tests.accept.wrong import on_result
from tests.lowering.conftest import need_wheel


def asked(calls, own):
    said = []
    by_the_wheel(calls, own, said.append)
    return said


def differing(said):
    return {entry["call"].partition(":")[0] for entry in said if entry["outcome"] == DIFFERS}


@pytest.mark.parametrize("name", ["llama2", "deepseek_v3"])
def test_the_wheel_takes_each_call_of_a_port(name):
    need_wheel()
    calls = calls_at(name)
    said = asked(calls, sides())
    assert {entry["outcome"] for entry in said} == {AGREES}
    ops = {call.name for call in calls if call.op.startswith("npu::")}
    assert {entry["call"].partition(":")[0] for entry in said} == ops
    assert len(said) == len(ops) + sum(call.op.startswith("npu::") for call in calls)


def test_a_call_that_the_wheel_refuses_and_a_kernel_that_gives_another_dtype_are_found():
    need_wheel()
    norm = next(call for call in calls_at("llama2") if call.name == "npu_rms_norm")
    swiglu = next(call for call in calls_at("llama2") if call.name == "npu_swiglu")
    unknown = replace(norm, arguments={**norm.arguments, "eps": 1e-6})
    said = asked([unknown, swiglu], sides(npu_swiglu=on_result(lambda values: values.float())))
    assert differing(said) == {"npu_rms_norm", "npu_swiglu"}
    refusal, other = (entry["detail"] for entry in said if entry["outcome"] == DIFFERS)
    assert "torch_npu refuses it" in refusal and "eps" in refusal
    assert "torch_npu gives bfloat16" in other and "porter's kernel float32" in other


def test_without_a_wheel_it_is_not_run_and_says_why(monkeypatch):
    monkeypatch.setattr(asking, "ask", lambda *_: refused("P110", "no torch_npu here", "install it"))
    monkeypatch.setattr(asking, "lower", lambda *_, **__: refused("P110", "no torch_npu here", "install it"))
    (entry,) = asked(calls_at("llama2"), sides())
    assert (entry["outcome"], entry["detail"]) == (NOT_RUN, "no torch_npu here")
    said = []
    graph_by_the_wheel(MODELS / "llama2", said.append)
    assert [each["outcome"] for each in said] == [NOT_RUN]


def test_it_is_asked_where_there_is_no_device():
    port = port_of("llama2")
    there = [list(_wheel((), Asked(port, Sides(torch.device(kind), "Ascend910B"), None))) for kind in ("cpu", "meta")]
    assert [[probe.part for probe in probes] for probes in there] == [[WHEEL, WHEEL], []]

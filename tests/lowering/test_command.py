"""`porter lower` and the levels of `porter verify` as commands: usage, exit codes, what goes where."""

import json
import re

import pytest
import torch

import porter.cli
from porter.diagnostics import Diagnostic, Refused
from porter.graph import execute as executing
from porter.graph.execute import Execution, Ran, Stop
from porter.lowering import lower as lowering
from porter.lowering.count import Line, Phase, Place, Unconverted
from porter.lowering.lower import Lowering
from porter.verify.finding import Measured
from tests.lowering.conftest import LLAMA

STEP = Phase("decode", None, 9, ({"MatMul": 2},), (Line(Place("modeling_llama.py:1", "x"), {"Cast": 1}),))
FOUND = Lowering("llama2", "Ascend910B3", "2.13.0", "stand-in", (STEP,), text="op {}")
STOPPED = Phase("decode", Unconverted("aten.erfinv.default", "not implemented", Place("modeling_llama.py:7", "y = x")))


RAN = (Ran("prefill", 1, 5e-7, 0, {"MatMul": 9}), Ran("decode", 32, 9e-7, 0, {"MatMul": 8}))
MADE_WITH = ("llama2", "Ascend910B3", "2.13.0", "stand-in")
WRONG = (RAN[0], Ran("decode", 32, 0.3, 5, {"MatMul": 8}))
NO_KERNEL = Stop("decode", "no kernel for `SwiGlu3`", Place("modeling_llama.py:7", "y = x"))

IN_HALF = (Ran("prefill", 1, 0.009, 0, {"MatMul": 9}, None), Ran("decode", 32, 0.014, 0, {"MatMul": 8}, None))


@pytest.fixture
def run(monkeypatch, capfd):
    def call(*words, found=FOUND):
        monkeypatch.setattr(lowering, "lower", lambda *args, **options: found)
        code = porter.cli.exit_code([str(word) for word in words])
        return code, *capfd.readouterr()

    return call


def test_prints_the_figures(run):
    code, out, _ = run("lower", LLAMA)
    assert code == 0
    assert re.search(r"^kernels a layer +2$", out, re.M)
    assert re.search(r"^kernels once a step +1$", out, re.M)
    assert out.endswith("kernel: not run\n")


def test_as_json(run):
    code, out, _ = run("lower", LLAMA, "--json")
    document = json.loads(out)
    assert (code, document["ok"]) == (0, True)
    assert document["port"][0]["kernels_a_layer"] == 2


def test_dumps_the_graphs(run, tmp_path):
    code, _, err = run("lower", LLAMA, "--dump", tmp_path / "graphs.txt")
    assert code == 0
    assert (tmp_path / "graphs.txt").read_text() == "op {}"
    assert f"wrote {tmp_path / 'graphs.txt'}" in err


def test_what_does_not_convert_is_a_failure_with_its_line(run):
    found = Lowering("llama2", "Ascend910B3", "2.13.0", "stand-in", (STOPPED,))
    code, out, _ = run("lower", LLAMA, found=found)
    assert code == 1
    assert "port decode: no converter for aten.erfinv.default\n    modeling_llama.py:7: y = x" in out


def test_a_refusal_is_one_message(run):
    refused = Refused((Diagnostic("P113", "pip could not install it", help="try again"),))
    code, out, err = run("lower", LLAMA, found=refused)
    assert (code, out) == (1, "")
    assert "error[P113]: pip could not install it" in err


def test_a_folder_without_a_port_is_refused_before_anything_is_installed(run, tmp_path):
    code, out, err = run("lower", tmp_path, found=None)
    assert (code, out) == (1, "")
    assert "error[P0" in err


def test_without_being_asked_no_graph_is_executed(run, monkeypatch):
    monkeypatch.setattr(executing, "execute", None)
    code, out, _ = run("lower", LLAMA)
    assert code == 0
    assert "executed" not in out


@pytest.mark.parametrize(
    ("found", "expected", "told"),
    [
        (Execution(*MADE_WITH, RAN), 0, "the graphs compute what the source computes, in float32\n\nkernel: not run\n"),
        (Execution(*MADE_WITH, WRONG), 1, "the graphs DO NOT compute what the source computes\n\nkernel: not run\n"),
        (
            Execution(*MADE_WITH, RAN[:1], NO_KERNEL),
            1,
            "graph of the decode, not executed to its end: no kernel for `SwiGlu3`\n    modeling_llama.py:7: y = x\n",
        ),
        (Execution(*MADE_WITH, (Ran("prefill", 1, float("nan"), 0, {}), RAN[1])), 1, "DO NOT compute"),
        (Execution(*MADE_WITH, RAN[:1]), 1, "DO NOT compute"),
    ],
    ids=["as the source", "otherwise", "stopped", "not a number", "one phase"],
)
def test_executes_the_graphs(run, monkeypatch, found, expected, told):
    monkeypatch.setattr(executing, "execute", lambda *args, **options: found)
    code, out, _ = run("lower", LLAMA, "--execute")
    assert code == expected
    assert told in out
    assert re.search(r"^kernels a layer +2$", out, re.M), "what is counted comes first"
    code, out, _ = run("lower", LLAMA, "--execute", "--json")
    document = json.loads(out)
    assert (code, document["ok"]) == (expected, not expected)
    assert document["execution"]["agrees"] is not bool(expected)
    assert document["execution"]["kernels_run"] is False


@pytest.mark.parametrize(
    ("figure", "expected", "last"),
    [(0.92, 0, "the graphs compute what the source computes, in bfloat16"), (1.2, 1, "the graphs DO NOT compute")],
)
def test_executes_the_graphs_in_16_bits_by_the_error_rule(run, monkeypatch, figure, expected, last):
    asked = []
    rule = Measured(figure, 1.0, "of the error it may have", "rms 1.9 ulp, the source's 2.0")
    found = Execution(*MADE_WITH, IN_HALF, None, "bfloat16", rule)
    monkeypatch.setattr(executing, "execute", lambda *args, **options: asked.append(options["dtype"]) or found)
    code, out, _ = run("lower", LLAMA, "--execute", "--dtype", "bfloat16")
    assert (code, asked) == (expected, [torch.bfloat16])
    assert f"{figure:.3f} of the error it may have: rms 1.9 ulp, the source's 2.0" in out and last in out
    assert not Execution(*MADE_WITH, IN_HALF, None, "bfloat16").agrees, "nothing was measured by the rule"


def test_what_does_not_convert_is_not_executed(run, monkeypatch):
    monkeypatch.setattr(executing, "execute", None)
    found = Lowering("llama2", "Ascend910B3", "2.13.0", "stand-in", (STOPPED,))
    assert run("lower", LLAMA, "--execute", found=found)[0] == 1


def test_a_refusal_to_execute_is_one_message(run, monkeypatch):
    refused = Refused((Diagnostic("P115", "the process ended", help="see what it said last"),))
    monkeypatch.setattr(executing, "execute", lambda *args, **options: refused)
    code, out, err = run("lower", LLAMA, "--execute")
    assert (code, out) == (1, "")
    assert "error[P115]: the process ended" in err


@pytest.mark.parametrize(
    "words",
    [
        ("lower", LLAMA, "--by-rule", "--baseline"),
        ("lower", LLAMA, "--by-rule", "--execute"),
        ("lower", LLAMA, "--dtype", "bfloat16"),
        ("lower", LLAMA, "--execute", "--dtype", "int8"),
        ("lower",),
        ("verify", LLAMA, "--level", "contract"),
        ("verify", LLAMA, "--config", "llama-2-7b"),
        ("verify", LLAMA, "--level", "contract", "--config", "llama-2-7b", "--tp", "0"),
    ],
    ids=str,
)
def test_usage(run, words):
    assert run(*words)[0] == 2


def test_verify_takes_the_name_of_a_shipped_configuration(run):
    code, out, _ = run("verify", LLAMA, "--level", "contract", "--config", "llama-2-70b", "--tp", "16")
    assert code == 1
    assert "num_key_value_heads is 8: that does not divide over tensor-parallel size 16" in out

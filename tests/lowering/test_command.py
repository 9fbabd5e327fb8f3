"""`porter lower` and the levels of `porter verify` as commands: usage, exit codes, what goes where."""

import json

import pytest

import porter.cli
from porter.diagnostics import Diagnostic, Refused
from porter.lowering import lower as lowering
from porter.lowering.count import OnceAStep, Phase, Place, Unconverted
from porter.lowering.lower import Lowering
from tests.lowering.conftest import LLAMA

STEP = Phase("decode", None, 9, ({"MatMul": 2},), (OnceAStep(Place("modeling_llama.py:1", "x"), {"Cast": 1}),))
FOUND = Lowering("llama2", "Ascend910B3", "2.13.0", "stand-in", (STEP,), text="op {}")
STOPPED = Phase("decode", Unconverted("aten.erfinv.default", "not implemented", Place("modeling_llama.py:7", "y = x")))


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
    assert "kernels a layer                2" in out
    assert "kernels once a step            1" in out
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


@pytest.mark.parametrize(
    "words",
    [
        ("lower", LLAMA, "--by-rule", "--baseline"),
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

"""The documents of --json against the schemas that `porter schema` prints: each command's own output, and errors."""

from __future__ import annotations

import json
import sys
from typing import Any

import jsonschema
import pytest

import porter.cli
from porter.cli.talk import print_json
from porter.graph.execute import Execution, Ran, Stop
from porter.lowering.contribution import Contribution
from porter.lowering.count import Line, Phase, Place, Unconverted
from porter.lowering.lower import Attempt, Lowering
from porter.report.schema import schema_of, schemas
from porter.runner.answers import Answer, Answers
from porter.verify.finding import Measured
from tests.cli.conftest import ROOT

LLAMA = "transformers.models.llama"
PORT = ROOT / "generated_models" / "llama2"
WITHOUT = {"schema"}  # commands that print no such document: a schema is one itself


def strict(schema: Any) -> Any:
    """The schema, with every object closed that names its members: what it does not know is then a fault."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema:
        closed["additionalProperties"] = False
    return closed


def validate(document: dict[str, Any], command: str | None) -> None:
    jsonschema.validate(document, strict(schema_of(command)), cls=jsonschema.Draft202012Validator)
    jsonschema.validate(document, schema_of(None), cls=jsonschema.Draft202012Validator)


@pytest.fixture
def document(porter_here):
    """The document of a command, found to be of its form; of the code that is expected."""

    def call(*words: object, code: int = 0) -> dict[str, Any]:
        done = porter_here(*words, "--json")
        assert done.code == code, done
        read = json.loads(done.out)
        assert read["schema"] == f"porter.{words[0]}/1" and read["ok"] is (code == 0)
        validate(read, str(words[0]))
        return read

    return call


def test_every_command_with_a_document_has_a_schema_and_no_other():
    group = porter.cli.commands.commands
    with_json = {name for name, command in group.items() if any("--json" in p.opts for p in command.params)}
    assert set(schemas()) == with_json and not WITHOUT & with_json
    for name in (None, *schemas()):
        jsonschema.Draft202012Validator.check_schema(schema_of(name))


def test_schema_prints_them(porter_here):
    done = porter_here("schema", "verify")
    assert done.code == 0 and json.loads(done.out) == schema_of("verify")
    assert json.loads(porter_here("schema").out) == schema_of(None)
    assert porter_here("schema", "verfy").err.startswith("error[P039]")


@pytest.mark.parametrize(
    "words",
    [
        ("inspect", LLAMA),
        ("inspect", "transformers.models.mamba"),
        ("rules",),
        ("rule", "swiglu", "--no-sites"),
        ("rule", "swiglu", "--source", LLAMA),
        ("why", LLAMA, "LlamaMLP"),
        ("why", "transformers.models.nemotron", "NemotronMLP"),
        ("explain",),
        ("explain", "own-rules"),
        ("doctor",),
        ("prove", "softplus"),
        ("verify", PORT, "--level", "contract", "--config", "llama-2-7b"),
        ("check", PORT),
        ("review", PORT),
    ],
    ids=lambda words: " ".join(map(str, words[:3])),
)
def test_what_commands_print_is_of_their_form(document, words):
    document(*words)


def test_converting_checking_and_exporting(document, tmp_path):
    out = tmp_path / "mine"
    assert "sites" in document("convert", LLAMA, "--out", out)
    assert document("convert", LLAMA, "--out", out, "--check")["differences"] == []
    assert document("convert", LLAMA, "--diff")["diff"].startswith("--- ")
    (out / "modeling_llama.py").write_text("mine\n")
    (out / "notes.txt").write_text("mine\n")
    (out / "run_mine.py").unlink()
    assert len(document("convert", LLAMA, "--out", out, "--check", code=1)["differences"]) == 3
    (port,) = document("check", out, code=1)["ports"]
    assert port["status"] == "differs" and len(port["differences"]) == 3
    (out / "port.json").write_text("{}")
    (port,) = document("check", out, code=1)["ports"]
    assert port["status"] == "refused" and port["reasons"][0]["code"] == "P072"
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text(json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}))
    assert document("export", PORT, "--to", checkpoint)["files"]


def test_a_new_rule(document, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert document("new-rule", "--from", f"{LLAMA}:LlamaMLP.forward")["supersedes"] == ["swiglu"]


LOWERED = Lowering(
    *("llama2", "Ascend910B3", "2.13.0", "stand-in"),
    port=(Phase("prefill", None, 9, ({"MatMul": 4},), (Line(Place("m.py:1", "x"), {"Gather": 1}),)),),
    source=(Phase("prefill", Unconverted("aten.histc", "none", Place("m.py:2"))), Phase("decode")),
    attempts=(Attempt("eager", "prefill", None), Attempt("sdpa", "decode", Unconverted("", "capture failed", None))),
)
RAN = Execution(
    *("llama2", "Ascend910B3", "2.13.0", "stand-in"),
    ran=(Ran("prefill", 1, 1e-7, 0, {"MatMul": 8}), Ran("decode", 32, float("nan"), 1, {"MatMul": 8})),
    stop=Stop("decode", "no kernel", Place("m.py:3", "y")),
)
RAN_IN_HALF = Execution(
    *("llama2", "Ascend910B3", "2.13.0", "stand-in"),
    ran=(Ran("prefill", 1, 0.009, 0, {"MatMul": 8}, None), Ran("decode", 32, 0.014, 0, {"MatMul": 8}, None)),
    dtype="bfloat16",
    rule=Measured(0.92, 1.0, "of the error it may have", "rms 1.9 ulp"),
)
RULES = (
    Contribution("", (), {"kernels_a_layer": 13, "kernels_once_a_step": 11}, {"unconverted": "aten.histc"}),
    Contribution("swiglu", ("merge_qkv",), refused="nothing is left"),
)


def test_lowering(document, monkeypatch):
    monkeypatch.setattr("porter.lowering.lower.lower", lambda *_, **__: LOWERED)
    monkeypatch.setattr("porter.graph.execute.execute", lambda *_, **__: RAN)
    monkeypatch.setattr("porter.lowering.contribution.contributions", lambda *_, **__: RULES)
    assert document("lower", PORT)["port"][0]["kernels_a_layer"] == 4
    executed = document("lower", PORT, "--baseline", "--execute", code=1)["execution"]
    assert [step["error"] for step in executed["ran"]] == [1e-7, None], "what is no number is null"
    monkeypatch.setattr("porter.graph.execute.execute", lambda *_, **__: RAN_IN_HALF)
    executed = document("lower", PORT, "--execute", "--dtype", "bfloat16")["execution"]
    assert executed["rule"]["figure"] == 0.92 and [step["limit"] for step in executed["ran"]] == [None, None]
    assert len(document("lower", PORT, "--by-rule")["rules"]) == 2


def test_predictions(document, monkeypatch):
    from tests.predict.test_command import BY_RULE, FOUND

    monkeypatch.setattr("porter.predict.predict.predict", lambda *_, **__: FOUND)
    monkeypatch.setattr("porter.predict.by_rule.by_rule", lambda *_, **__: BY_RULE)
    assert document("lower", PORT, "--predict")["prediction"]["tokens_a_second"] == 250.0
    assert len(document("lower", PORT, "--predict", "--by-rule")["prediction_by_rule"]["ports"]) == 3


def test_accepting(document, monkeypatch):
    from porter.accept.record import new_record

    device = {"kind": "cpu", "name": "x86_64", "count": 1, "memory": None, "stands_for": "Ascend910B"}
    parts = [{"part": "CANN", "version": None, "state": "absent", "note": ""}]
    record = new_record(PORT, device, {"torch": "2.13.0"}, parts, {"configuration": "tiny"})
    entry = {"call": "prefill", "dtype": "bfloat16", "outcome": "differs", "detail": "wrong", "figures": {}, "ms": 0.1}
    said = {"part": "ops", "title": "npu_swiglu", "about": "", "used": None}
    record["probes"] = {"npu::npu_swiglu": {**said, "outcome": "differs", "detail": "wrong", "entries": [entry]}}
    monkeypatch.setattr(sys.modules["porter.cli.accept"], "_run", lambda *_, **__: record)
    assert document("accept", PORT, "--device", "cpu", code=1)["record"]["rehearsal"]


def test_running_and_timing(document, monkeypatch, tmp_path):
    import porter.bench.generation as generation
    import porter.runner as runner

    answers = Answers([Answer("a", "b", (1, 2))], 1.0, 2.0)
    monkeypatch.setattr(runner.LlmModelRunner, "__init__", lambda *_, **__: None)
    monkeypatch.setattr(runner.LlmModelRunner, "execute_model", lambda *_: answers)
    monkeypatch.setattr(runner.LlmModelRunner, "execute_mode", "eager", raising=False)
    document("run", PORT, "--model-path", tmp_path, "--prompt", "a")
    small = generation.Shape("a toy", 64, 2, 4, 4, prompt=8, steps=4)
    monkeypatch.setattr(generation, "SHAPES", (small,))
    document("bench", PORT, "--mode", "eager", "--rounds", 1)


def test_the_file_of_a_matrix(porter_here, tmp_path):
    assert (
        porter_here("matrix", "--level", "port", "--models", "llama,whisper", "--json", tmp_path / "m.json").code == 0
    )
    for file in (tmp_path / "m.json", ROOT / "tests" / "ports" / "matrix.json"):
        jsonschema.validate(json.loads(file.read_text()), schema_of("matrix"))


# --- errors

REFUSED = {
    "refused": (("convert", "transformers.models.lama"), 1, "P001"),
    "a port that is not there": (("verify", "nosuch"), 1, "P080"),
    "an option that is not there": (("verify", PORT, "--nonsense"), 2, "P147"),
    "an argument that is missing": (("why", LLAMA), 2, "P147"),
    "a value that is none": (("verify", PORT, "--level", "x"), 2, "P147"),
    "an option that does nothing": (("verify", PORT, "--tp", "2"), 2, "P147"),
}


@pytest.mark.parametrize(("words", "code", "said"), REFUSED.values(), ids=REFUSED)
def test_an_error_is_a_document_too(document, words, code, said):
    (diagnostic,) = document(*words, code=code)["diagnostics"]
    assert diagnostic["code"] == said and diagnostic["help"]


def test_a_command_that_is_not_there_has_no_form_of_its_own(porter_here):
    done = porter_here("nonsense", "--json")
    read = json.loads(done.out)
    assert (done.code, read["schema"]) == (2, "porter/1")
    validate(read, None)


def test_a_bug_and_what_the_system_refuses_are_documents(document, monkeypatch):
    def bug(spec: str) -> None:
        raise ZeroDivisionError("by zero")

    def no(spec: str) -> None:
        raise PermissionError(13, "Permission denied", "/secret")

    monkeypatch.setattr("porter.source.load_source", bug)
    (diagnostic,) = document("inspect", LLAMA, code=70)["diagnostics"]
    assert (diagnostic["code"], diagnostic["message"]) == ("P148", "ZeroDivisionError: by zero")
    monkeypatch.setattr("porter.source.load_source", no)
    assert document("inspect", LLAMA, code=1)["diagnostics"][0]["code"] == "P145"


def test_what_is_no_number_is_null(capfd):
    print_json({"figures": [1.5, float("nan"), {"x": float("inf")}]})
    assert json.loads(capfd.readouterr().out) == {"figures": [1.5, None, {"x": None}]}

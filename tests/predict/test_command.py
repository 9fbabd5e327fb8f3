"""`porter lower --predict` as a command: usage, refusals before anything is lowered, what it says of its figures."""

import json

import pytest

import porter.cli
from porter.predict import by_rule as by_rule_module
from porter.predict import predict as predicting
from porter.predict.by_rule import ByRule, Worth
from porter.predict.chips import CHIPS
from porter.predict.duration import LAUNCH, MEMORY
from porter.predict.predict import Memory, Prediction
from porter.predict.steps import Cost, Step
from porter.predict.workload import Workload, check_workload, dtype_of
from tests.lowering.conftest import LLAMA

CHIP = CHIPS["Ascend910B3"]
COSTS = (
    Cost("MatMul", 320, 17_000_000_000, 140_000_000_000, 15.5, MEMORY),
    Cost("Add", 1, 8, 0, 0.004, LAUNCH),
)
STEPS = Step("prefill", COSTS), Step("decode", (Cost("MatMul", 320, 17_000_000_000, 0, 16.0, MEMORY),))
HELD = Memory(10 << 30, 2 << 30, 64 << 30)
FOUND = Prediction("llama2", "llama-2-70b.json", "float16", 80, CHIP, Workload(4, tp=8), HELD, *STEPS)
BY_RULE = ByRule(
    "llama2",
    CHIP,
    Workload(4, tp=8),
    (
        Worth("", (), 500.0, 30.0),
        Worth("swiglu", (), 520.0, 31.25),
        Worth("attention", ("merge_qkv",), stopped="no converter"),
    ),
    Worth("", (), 900.0, 160.0),
)


@pytest.fixture
def run(capfd):
    def call(*words):
        code = porter.cli.exit_code([str(word) for word in words])
        return code, *capfd.readouterr()

    return call


@pytest.fixture
def asked(monkeypatch):
    calls = []

    def predict(directory, workload, chip, **options):
        calls.append((workload, chip.name, options["config_json"]))
        return FOUND

    monkeypatch.setattr(predicting, "predict", predict)
    monkeypatch.setattr(by_rule_module, "by_rule", lambda *args, **options: BY_RULE)
    return calls


def test_prints_kernels_and_both_steps_and_what_the_figures_are(run, asked):
    code, out, _ = run("lower", LLAMA, "--predict", "--config", "llama-2-70b", "--tp", 8, "--batch", 4)
    assert code == 0
    workload, chip, config = asked[0]
    assert (workload, chip, config.name) == (Workload(4, 1024, 1024, 8), "Ascend910B4", "llama-2-70b.json")
    lines = [line.split() for line in out.splitlines()]
    assert ["MatMul", "320", "17.000", "0.140", "15.50", "memory"] in lines
    assert ["1", "other", "kinds", "1", "0.000", "-", "0.00"] in lines
    assert "prefill        15.5 ms" in out
    assert "decode         16.00 ms a token" in out
    assert "250 tokens/s, 4 a step" in out
    assert "12.0 of 64 GiB, weights 10.0, KV cache 2.0" in out
    assert "an estimate" in out
    assert "published times that were not" in out
    assert out.endswith("kernel: not run\n")


def test_as_json(run, asked):
    code, out, _ = run("lower", LLAMA, "--predict", "--input", 8, "--output", 9, "--chip", "910B2", "--json")
    document = json.loads(out)
    assert (code, document["ok"], document["kernels_run"]) == (0, True, False)
    assert asked == [(Workload(1, 8, 9, 1), "Ascend910B2", None)]
    assert document["prediction"]["decode"]["costs"][0]["bound"] == "memory"
    assert document["prediction"]["decode"]["milliseconds"] == 16.0
    assert document["estimate"]["held_out"]["figures"] > 0


def test_what_each_rule_is_worth(run, asked):
    code, out, _ = run("lower", LLAMA, "--predict", "--by-rule")
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert ["without", "swiglu", "520.0", "+20.0", "31.25", "+1.25"] in lines
    assert ["without", "attention", "-", "-", "no", "converter"] in lines
    assert ["(the", "source)", "900.0", "+400.0", "160.00", "+130.00"] in lines
    assert out.endswith("kernel: not run\n")


@pytest.mark.parametrize("option", ["config", "chip", "tp", "batch", "input", "output"])
def test_sizes_without_predict_are_a_usage_error(run, asked, option):
    code, out, err = run("lower", LLAMA, f"--{option}", "1")
    assert (code, out) == (2, "")
    assert f"--{option} is for --predict" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--baseline",), "leave out --baseline"),
        (("--execute",), "leave out --execute"),
        (("--dump", "f"), "leave out --dump"),
        (("--soc", "Ascend910B2"), "--chip in place of --soc"),
        (("--rules", "d"), "--rules is for --by-rule"),
        (("--batch", "many"), "batch"),
    ],
)
def test_what_does_not_go_with_predict_is_a_usage_error(run, asked, words, told):
    code, out, err = run("lower", LLAMA, "--predict", *words)
    assert (code, out) == (2, "")
    assert told in err


def test_an_unknown_chip_names_the_nearest(run, asked):
    code, _, err = run("lower", LLAMA, "--predict", "--chip", "Ascend910B5")
    assert code == 1
    assert "error[P118]" in err
    assert "Ascend910B" in err.partition("did you mean")[2]
    assert not asked


@pytest.mark.parametrize(
    ("workload", "config", "told"),
    [
        (Workload(batch=0), {}, "--batch is 0"),
        (Workload(batch=5000), {}, "from 1 to 4096"),
        (Workload(tp=0), {}, "--tp is 0"),
        (Workload(tp=16), {}, "from 1 to 8"),
        (Workload(input=-1), {}, "--input is -1"),
        (Workload(output=0), {"n_positions": 4096}, "--output is 0"),
        (Workload(input=5000), {"max_position_embeddings": 4096}, "from 1 to 4096"),
        (
            Workload(input=3000, output=2000),
            {"max_position_embeddings": 4096},
            "5000 tokens: more than the model's 4096",
        ),
        (Workload(), {"quantization_config": {"quant_method": "fp8"}}, "quantized checkpoint"),
    ],
)
def test_a_workload_out_of_range_is_refused(workload, config, told):
    (fault,) = check_workload(workload, config).diagnostics
    assert fault.code == "P119"
    assert told in f"{fault.message} {fault.help}"


def test_a_workload_in_range_is_taken():
    assert check_workload(Workload(4096, 2048, 2048, 8), {"max_position_embeddings": 4096}) is None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--config", "llama-2-70b", "--tp", "7"), "num_attention_heads is 64"),
        (("--config", "llama-2-7b", "--batch", "0"), "--batch is 0"),
        (("--config", "llama-2-7b", "--input", "4000"), "5024 tokens"),
        (("--config", "no-such.json"), "P116"),
    ],
)
def test_nonsense_is_refused_before_anything_is_lowered(run, monkeypatch, words, told):
    monkeypatch.setattr(predicting, "ask", None)
    code, out, err = run("lower", LLAMA, "--predict", *words)
    assert (code, out) == (1, "")
    assert told in err


def test_the_dtype_is_what_the_configuration_names():
    assert dtype_of({"torch_dtype": "bfloat16"}) == "bfloat16"
    assert dtype_of({"dtype": "float32"}) == dtype_of({}) == "float16"

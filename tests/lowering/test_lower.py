"""The Llama port through the real TorchAir: the figures that porter claims, and what a failure says."""

import importlib.metadata
import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest
from transformers import CONFIG_MAPPING

from porter.lowering.contribution import contributions
from porter.lowering.lower import lower, traces_of
from porter.lowering.process import ask
from porter.lowering.steps import configuration
from porter.report.blocks import plain
from porter.report.lowering import contributions_data, lowering_data, of_lowering
from porter.verify.port import open_to_compare
from tests.lowering.conftest import LLAMA
from tests.verify.conftest import port_to, write_checkpoint_code

TORCH = importlib.metadata.version("torch").partition("+")[0]
A_LAYER = {
    "AddRmsNorm": 2,
    "MatMul": 4,
    "SplitV": 1,
    "RotaryMul": 2,
    "Scatter": 2,
    "FusedInferAttentionScore": 1,
    "SwiGlu": 1,
}
BY_RULE = Path(__file__).parent / "llama_by_rule.json"


@pytest.fixture(scope="module")
def llama(wheel):
    return lower(LLAMA, baseline=True, text=True)


def test_a_layer_is_thirteen_kernels_in_prefill_and_in_decode(llama):
    assert [step.name for step in llama.port] == ["prefill", "decode"]
    for step in llama.port:
        assert step.unconverted is None
        assert step.layers == (A_LAYER,)
        assert step.kernels == 13


def test_every_attention_is_told_lengths_by_what_the_step_computes_anyway(llama):
    for step in llama.port:
        assert step.with_lengths == step.attention == 3
        assert [line.kernels for line in step.beside] == [{"SplitV": 1}] and step.implied == 12
    assert llama.text.count('name: "actual_seq_lengths_kv"') == 4
    for step in llama.source:
        assert step.attention == 0


def test_outside_the_layers_a_line_is_named_for_every_kernel(llama):
    for step in llama.port:
        assert step.once_a_step <= {"prefill": 13, "decode": 11}[step.name]
        assert all(entry.place.line.startswith("modeling_llama.py:") and entry.place.code for entry in step.once)
        (rotary,) = (entry for entry in step.once if "rotary_emb" in entry.place.code)
        assert rotary.kernels == {"GatherV2": 2}, "rotary tables are looked up once a step"


def test_the_source_converts_in_one_setting_only(llama):
    assert [step.kernels for step in llama.source] == [67, 63]
    stopped = {(attempt.setting, attempt.phase): attempt.unconverted for attempt in llama.attempts}
    assert len(stopped) == 6
    assert all(stopped.values())
    assert stopped["eager attention, static cache", "decode"].op == "aten.index_copy.default"
    assert stopped["eager attention, static cache", "decode"].place.code.startswith("key_states, value_states = past_k")


def test_the_report_claims_no_kernel(llama):
    text = plain(of_lowering(llama, verbose=True))
    assert text.startswith(f"llama2: lowers through TorchAir (torch_npu {TORCH}, CANN stand-in, Ascend910B3)")
    assert text.endswith("kernel: not run")
    assert "kernels a layer 13 13 67 63" in " ".join(text.split())
    data = json.loads(json.dumps(lowering_data(llama)))
    assert data["kernels_run"] is False
    assert [step["kernels_a_layer"] for step in data["port"]] == [13, 13]


def test_the_graphs_come_as_text(llama):
    assert llama.text.count("# port, ") == 2
    assert llama.text.count('type: "FusedInferAttentionScore"') == 4


def test_this_process_and_its_environment_stay_without_torch_npu(llama):
    assert "torch_npu" not in sys.modules
    assert importlib.util.find_spec("torch_npu") is None


def test_what_has_no_converter_is_named_with_its_line(wheel, tmp_path):
    place = tmp_path / "llama2"
    shutil.copytree(LLAMA, place)
    file = place / "modeling_llama.py"
    text, call = file.read_text(), "        hidden_states = self.mlp(hidden_states)\n"
    assert call in text
    file.write_text(
        text.replace(
            call,
            call + "        hidden_states = hidden_states.erfinv().index_copy(\n"
            "            0, position_ids[0, :1] * 0, hidden_states\n        )\n",
        )
    )
    found = lower(place, edited=True)
    assert not found.converts
    for step in found.port:
        assert step.unconverted.op.startswith("aten.")
        assert step.unconverted.place.code == "hidden_states = hidden_states.erfinv().index_copy("
        assert step.kernels == 0
    report = plain(of_lowering(found))
    assert "llama2: does not lower through TorchAir" in report
    assert f"no converter for {found.port[0].unconverted.op}" in report


def test_what_each_rule_contributes_is_as_recorded(wheel):
    """A spot check; `porter lower generated_models/llama2 --by-rule --json` gives the whole record again."""
    recorded = {entry["without"]: entry for entry in json.loads(BY_RULE.read_text())["rules"]}
    found = contributions_data(contributions(LLAMA, rules=("swiglu",)))
    assert [entry["without"] for entry in found] == ["", "swiglu"]
    for entry in found:
        assert json.loads(json.dumps(entry)) == recorded[entry["without"]], "figures changed: make the record again"
    assert recorded[""]["decode"]["kernels_a_layer"] == 13
    assert set(recorded) == {"", *(rule["rule"] for rule in json.loads((LLAMA / "port.json").read_text())["rules"])}


def test_a_source_that_no_package_holds_is_lowered_from_where_it_lies(wheel, tmp_path):
    code, broken = (write_checkpoint_code(tmp_path / name) / "modeling_mine.py" for name in ("code", "broken"))
    broken.write_text(f"import a_package_that_is_not_there\n{broken.read_text()}")
    ports = [open_to_compare(port_to(tmp_path / "ports" / file.parent.name, str(file))) for file in (code, broken)]
    traces = [traces_of(port, "source", "eager", "growing", (1,))[1] for port in ports]
    told = ask("lower", {"soc": "Ascend910B3", "traces": traces, "text": False}, lambda *step: None)
    whole, failed = told["traces"]
    assert str(code) in {file for node in whole["nodes"] for file, _ in node["frames"]}
    assert f"`{broken}`, which `{ports[1].directory}` was made from, does not load" in failed["failure"]["reason"]
    assert "No module named 'a_package_that_is_not_there'" in failed["failure"]["reason"]


def test_lists_with_an_entry_for_each_layer_are_as_long_as_the_layers_that_are_lowered():
    config_class = CONFIG_MAPPING["exaone_moe"]
    for layers in (1, 2, 3):
        config = configuration(config_class, layers)
        assert config.num_hidden_layers == len(config.layer_types) == len(config.mlp_layer_types) == layers
    assert config.mlp_layer_types == ["dense", "sparse", "dense"]

"""Real models' sizes against the limits of the ops, by shapes alone."""

import json

import pytest

from porter.diagnostics import Refused
from porter.verify.contract import contract, shipped_configs

SIZES = {"model_type": "llama", "vocab_size": 1000, "hidden_size": 512, "intermediate_size": 1024,
         "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
         "max_position_embeddings": 256}  # fmt: skip


@pytest.fixture
def sizes(tmp_path):
    def write(**changed):
        file = tmp_path / "config.json"
        file.write_text(json.dumps({**SIZES, **changed}))
        return file

    return write


def test_ships_the_sizes_of_models_that_people_run():
    assert list(shipped_configs()) == ["llama-2-13b", "llama-2-70b", "llama-2-7b", "llama-3-8b"]


@pytest.mark.parametrize("name", shipped_configs())
@pytest.mark.parametrize("tp", [1, 8])
@pytest.mark.parametrize("soc", ["Ascend910B3", "Ascend910_9391"])
def test_llamas_fit_a2_and_a3_on_one_card_and_on_eight(llama, name, tp, soc):
    found = contract(llama, shipped_configs()[name], soc=soc, tp=tp)
    assert [check for check in found if not check.passed] == []
    assert len(found) == 9


@pytest.mark.parametrize(
    ("name", "tp", "detail"),
    [
        ("llama-2-70b", 16, "num_key_value_heads is 8: that does not divide over tensor-parallel size 16"),
        ("llama-2-13b", 16, "num_attention_heads is 40: that does not divide over tensor-parallel size 16"),
    ],
)
def test_heads_that_do_not_divide_are_named(llama, name, tp, detail):
    failed = [check for check in contract(llama, shipped_configs()[name], tp=tp) if check.failed]
    assert [(check.name, check.detail) for check in failed] == [(f"divides over {tp} ranks", detail)]


def test_a_limit_is_named_with_the_op_the_argument_and_the_line(llama, sizes):
    found = contract(llama, sizes(hidden_size=520, head_dim=130))
    failed = {(check.variant, check.name): check.detail for check in found if check.failed}
    detail = failed["bfloat16", "decode in a cache of 256 slots"]
    assert "npu_fused_infer_attention_score: query must have D <= 512 that fills 16-byte blocks" in detail
    assert "got D=130\nat modeling_llama.py:" in detail


def test_a_chip_without_the_op_says_which_have_it(llama, sizes):
    failed = [check for check in contract(llama, sizes(), soc="Ascend310P3") if check.failed]
    assert {check.variant for check in failed} == {"float16", "bfloat16"}
    assert "got Ascend310P" in failed[0].detail


def test_an_activation_that_the_port_refuses_is_a_failed_check(llama, sizes):
    failed = [check for check in contract(llama, sizes(hidden_act="gelu")) if check.failed]
    assert [check.name for check in failed] == ["takes the configuration"] * 2
    assert "npu_swiglu computes silu" in failed[0].detail


def refusal(found):
    assert isinstance(found, Refused), found
    return found.diagnostics[0]


def test_an_unknown_chip_is_refused(llama, sizes):
    found = refusal(contract(llama, sizes(), soc="Ascend910A"))
    assert (found.code, found.message) == ("P117", "porter knows no limits of a chip `Ascend910A`")


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("{", "Expecting property name"),
        ("[]", "it holds no JSON object"),
        (json.dumps({**SIZES, "model_type": "gpt2"}), "it is of model type gpt2, the port of llama"),
    ],
    ids=["no JSON", "no object", "another model"],
)
def test_what_is_no_configuration_of_this_model_is_refused(llama, tmp_path, text, note):
    (tmp_path / "config.json").write_text(text)
    found = refusal(contract(llama, tmp_path / "config.json"))
    assert found.code == "P116"
    assert found.notes[0].startswith(note)


def test_a_missing_file_is_refused(llama, tmp_path):
    assert refusal(contract(llama, tmp_path / "nothere.json")).code == "P116"

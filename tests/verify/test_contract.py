"""Real models' sizes against the limits of the ops, by shapes alone."""

import json
import shutil
from pathlib import Path

import pytest

from porter.diagnostics import Refused
from porter.verify.contract import contract, shipped_configs
from tests.verify.conftest import port_to, write_checkpoint_code

ROOT = Path(__file__).resolve().parents[2]
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


# --- a rank's share


FROM_HEADS = (
    'self.head_dim = getattr(config, "head_dim", config.hidden_size // config.num_attention_heads)',
    "self.head_dim = config.hidden_size // config.num_attention_heads",
)


@pytest.fixture(scope="module")
def from_heads(tmp_path_factory):
    """The port of a Llama that works head_dim out of hidden_size and the number of heads, and counts its heads."""
    folder = write_checkpoint_code(tmp_path_factory.mktemp("heads") / "code")
    file = folder / "modeling_mine.py"
    assert FROM_HEADS[0] in file.read_text()
    file.write_text(file.read_text().replace(*FROM_HEADS))
    return port_to(folder.parent / "mine", str(folder))


@pytest.mark.parametrize("tp", [1, 2, 4])
def test_head_dim_stays_what_it_is_over_ranks(from_heads, sizes, tp):
    kv_heads = 4
    file = sizes(model_type="mine", num_key_value_heads=kv_heads, hidden_size=512)
    found = contract(from_heads, file, tp=tp)
    assert [(check.name, check.detail) for check in found if not check.passed] == []
    assert len(found) == 9


@pytest.mark.parametrize(("tp", "heads", "kv_heads"), [(1, 4, 2), (2, 2, 1)])
def test_the_kernel_sees_the_heads_of_one_rank(llama, sizes, tp, heads, kv_heads, monkeypatch):
    import porter.verify.contract as engine

    seen = []
    real = engine._ask

    def ask(port, model, *rest):
        attention = model.model.layers[0].self_attn
        seen.append((attention.qkv_sizes, tuple(attention.o_proj.weight.shape), attention.head_dim))
        return real(port, model, *rest)

    monkeypatch.setattr(engine, "_ask", ask)
    assert all(check.passed for check in contract(llama, sizes(), tp=tp))
    rows = [heads * 128, kv_heads * 128, kv_heads * 128]
    assert {(tuple(sizes), shape, size) for sizes, shape, size in seen} == {(tuple(rows), (512, heads * 128), 128)}


def test_a_port_that_nothing_says_how_to_split_fails_over_ranks(llama, sizes, tmp_path):
    port = shutil.copytree(llama, tmp_path / "llama")
    account = json.loads((port / "port.json").read_text())
    (port / "port.json").write_text(json.dumps({**account, "split_points": None}))
    assert all(check.passed for check in contract(port, sizes()))
    (failed,) = [check for check in contract(port, sizes(), tp=2) if check.failed]
    assert (failed.name, "no split points" in failed.detail) == ("divides over 2 ranks", True)


EXPERTS = {"model_type": "glm4_moe", "vocab_size": 1000, "hidden_size": 512, "intermediate_size": 1024,
           "moe_intermediate_size": 256, "num_hidden_layers": 6, "first_k_dense_replace": 3, "num_attention_heads": 4,
           "num_key_value_heads": 2, "head_dim": 128, "n_routed_experts": 16, "n_group": 4, "topk_group": 2,
           "num_experts_per_tok": 4, "max_position_embeddings": 256}  # fmt: skip


@pytest.mark.parametrize("groups", [4, 8])
def test_a_layer_with_experts_behind_dense_ones_is_asked_too(tmp_path, groups):
    (tmp_path / "config.json").write_text(json.dumps({**EXPERTS, "n_group": groups}))
    found = contract(ROOT / "generated_models" / "glm4_moe", tmp_path / "config.json")
    limit = "npu_moe_gating_top_k: group_count must divide the experts of x (512, 16) into groups of more than two"
    assert any(limit in check.detail for check in found) == (groups == 8)
    assert all(check.passed for check in found) == (groups == 4)


DIVIDED = {  # a port at the sizes its configuration has by default -> ranks, what a rank holds of a layer with experts
    "deepseek_v3": (8, {"mlp.experts.gate_up_proj": (256, 2 * 2048 // 8, 7168), "kv_b_proj": (128 // 8 * 256, 512)}),
    "glm4_moe": (4, {"mlp.experts.down_proj": (128, 4096, 1408 // 4), "o_proj": (4096, 96 * 128 // 4)}),
    "gpt_oss": (8, {"mlp.experts.gate_up_proj": (128, 2880, 2 * 2880 // 8), "sinks": (64 // 8,)}),
}

HEADS = {"glm4_moe": {"head_dim": 128}}


@pytest.mark.parametrize("name", DIVIDED)
def test_experts_and_latents_of_one_rank_fit(name, tmp_path, monkeypatch):
    import porter.verify.contract as engine

    shapes, (ranks, wanted) = {}, DIVIDED[name]
    real = engine._ask

    def ask(port, model, *rest):
        shapes.update({path: tuple(weight.shape) for path, weight in model.named_parameters()})
        return real(port, model, *rest)

    monkeypatch.setattr(engine, "_ask", ask)
    sizes = {"model_type": name, "num_hidden_layers": 4, **HEADS.get(name, {})}
    (tmp_path / "config.json").write_text(json.dumps(sizes))
    found = contract(ROOT / "generated_models" / name, tmp_path / "config.json", tp=ranks)
    assert [(check.name, check.detail) for check in found if check.failed] == []
    for part, shape in wanted.items():
        assert {held for path, held in shapes.items() if path.endswith((part, f"{part}.weight"))} == {shape}


@pytest.mark.parametrize(
    ("changed", "detail"),
    [
        ({"moe_intermediate_size": 1407}, "moe_intermediate_size is 1407: that does not divide over"),
        ({"num_attention_heads": 127}, "num_attention_heads is 127: that does not divide over"),
    ],
)
def test_what_ranks_would_refuse_fails_with_their_reason(changed, detail, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "deepseek_v3", "num_hidden_layers": 4, **changed}))
    port = ROOT / "generated_models" / "deepseek_v3"
    (failed,) = [check for check in contract(port, tmp_path / "config.json", tp=2) if check.failed]
    assert failed.name == "divides over 2 ranks" and failed.detail.startswith(detail)

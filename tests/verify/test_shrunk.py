"""A checkpoint folder's own configuration, made small: what it says is what is verified."""

import json

import pytest

from porter.diagnostics import Refused
from porter.verify.finding import FAILED, NOT_APPLICABLE
from porter.verify.parity import verify
from porter.verify.port import open_to_compare
from porter.verify.shrunk import shrunk
from porter.verify.tiny import tiny_config
from tests.verify.conftest import port_to, write_checkpoint_code

REAL = {
    "vocab_size": 151936,
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 131072,
    "rope_parameters": {
        "rope_type": "yarn",
        "rope_theta": 1e6,
        "factor": 4.0,
        "original_max_position_embeddings": 32768,
    },
    "attention_bias": True,
    "tie_word_embeddings": True,
    "rms_norm_eps": 1e-5,
    "bos_token_id": 151643,
    "eos_token_id": [151645, 151643],
    "torch_dtype": "bfloat16",
}


def folder_with(root, values, change=lambda text: text):
    """A checkpoint's folder with code of its own and a real model's configuration, and its port."""
    folder = write_checkpoint_code(root / "checkpoint")
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))
    code = folder / "modeling_mine.py"
    code.write_text(change(code.read_text()))
    return port_to(root / "generated_models" / "mine", str(folder))


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    return folder_with(tmp_path_factory.mktemp("project"), REAL)


def test_the_folders_properties_are_what_is_verified(port):
    checks = verify(port, quick=True)
    assert not isinstance(checks, Refused), checks
    assert [check for check in checks if check.failed] == [] and sum(check.passed for check in checks) >= 20
    opened = open_to_compare(port)
    config = tiny_config(opened.load_source_class().config_class, opened.origin.configuration())
    assert (config.attention_bias, config.tie_word_embeddings, config.rms_norm_eps) == (True, True, 1e-5)
    assert config.head_dim * config.num_attention_heads == 2 * config.hidden_size  # as 16 * 128 of 1024
    assert config.num_attention_heads == 2 * config.num_key_value_heads
    assert config.rope_parameters["rope_type"] == "yarn" and config.rope_parameters["rope_theta"] == 1e6
    assert config.max_position_embeddings == 4 * config.rope_parameters["original_max_position_embeddings"]


def test_a_fault_that_only_the_folders_configuration_shows_is_found(port):
    """Biases are off in the class: with its defaults this port would pass."""
    code = port / "modeling_mine.py"
    text = code.read_text()
    faulty = text.replace("sum(self.qkv_sizes), bias=config.attention_bias", "sum(self.qkv_sizes), bias=False")
    assert faulty != text
    code.write_text(faulty)
    try:
        checks = verify(port, quick=True, edited=True, trust_remote_code=True)
    finally:
        code.write_text(text)
    assert any(check.failed and check.variant == "base" for check in checks)


def test_a_source_without_labels_has_no_loss_to_compare(tmp_path):
    def unlabelled(text):
        cut = text.replace("        labels: torch.LongTensor | None = None,\n", "", 1)
        start = cut.index("        loss = None\n", cut.index("class MineForCausalLM"))
        end = cut.index("        return CausalLMOutputWithPast(", start)
        cut = cut[:start] + cut[end:].replace("            loss=loss,\n", "", 1)
        return cut.replace(
            "**kwargs: Unpack[TransformersKwargs],\n    ) -> CausalLMOutputWithPast", ") -> object"
        ).replace(
            "            **kwargs,\n        )\n\n        hidden_states = outputs",
            "        )\n\n        hidden_states = outputs",
        )

    checks = verify(folder_with(tmp_path, {}, unlabelled), quick=True)
    assert not isinstance(checks, Refused), checks
    by_name = {check.name: check for check in checks}
    assert by_name["loss"].outcome == NOT_APPLICABLE and by_name["loss"].detail == "the source takes no labels"
    assert [check.name for check in checks if check.outcome == FAILED] == []


def test_a_configuration_that_is_not_taken_made_small_is_said_and_the_defaults_are(tmp_path):
    checks = verify(folder_with(tmp_path, {"rope_parameters": {"rope_type": "spiral"}}), quick=True)
    assert not isinstance(checks, Refused), checks
    first = checks[0]
    assert first.name == "the folder's config.json" and first.outcome == NOT_APPLICABLE
    assert "made small, the source class raises KeyError" in first.detail
    assert any(check.passed and check.name == "fp32 logits" for check in checks)


GROUPS = {
    "as many": ({"num_attention_heads": 32, "num_key_value_heads": 32}, 4),
    "one": ({"num_attention_heads": 71, "num_key_value_heads": 1}, 1),
    "groups": ({"num_attention_heads": 64, "num_key_value_heads": 8}, 2),
}


@pytest.mark.parametrize("kind", GROUPS)
def test_heads_keep_their_grouping(kind):
    given, wanted = GROUPS[kind]
    assert shrunk(given, {}) == {"num_attention_heads": 4, "num_key_value_heads": wanted}


@pytest.mark.parametrize(("head_dim", "share"), [(128, 1), (256, 2), (64, 0.5)])
def test_head_dim_stays_beside_hidden_over_heads_as_it_was(head_dim, share):
    small = shrunk({"hidden_size": 4096, "num_attention_heads": 32, "head_dim": head_dim}, {})
    assert small["head_dim"] * small["num_attention_heads"] == share * small["hidden_size"]


def test_one_layer_of_each_kind_stays():
    given = {
        "num_hidden_layers": 6,
        "layer_types": ["sliding"] * 5 + ["full"],
        "mlp_only": [0, 0, 0, 0, 0, 1],
        "max_window_layers": 3,
    }
    small = shrunk(given, {})
    assert small == {
        "num_hidden_layers": 2,
        "layer_types": ["sliding", "full"],
        "mlp_only": [0, 1],
        "max_window_layers": 1,
    }


def test_lists_of_a_rope_type_are_as_long_as_the_head_asks():
    given = {
        "hidden_size": 4096,
        "num_attention_heads": 32,
        "max_position_embeddings": 131072,
        "original_max_position_embeddings": 4096,
        "rope_scaling": {"type": "longrope", "short_factor": [1.0] * 64, "long_factor": [2.0] * 64},
    }
    small = shrunk(given, {})
    assert [len(small["rope_scaling"][name]) for name in ("short_factor", "long_factor")] == [8, 8]
    assert small["max_position_embeddings"] == 32 * small["original_max_position_embeddings"]
    sections = shrunk({**given, "rope_scaling": {"mrope_section": [16, 24, 24]}}, {})["rope_scaling"]
    assert sections == {"mrope_section": [2, 3, 3]}


def test_other_sizes_shrink_with_the_hidden_size_and_properties_stay():
    given = {"hidden_size": 4096, "special_dim": 8192, "gate_logit_softcap": 30, "vocab_size": 32000, "n_inner": None}
    assert shrunk(given, {}) == {
        "hidden_size": 64,
        "special_dim": 128,
        "gate_logit_softcap": 30,
        "vocab_size": 128,
        "n_inner": None,
    }

"""Adapters on a port of a mixture of experts: on its linears, its router, and the experts' stacked parameters."""

from pathlib import Path

import pytest
import torch
from transformers import MixtralConfig, MixtralForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

from porter.runtime import load_model_class
from tests.runtime.adapter_kinds import error, load_on, logits, lora, tokens, write_adapter
from tests.runtime.conftest import SIZES

MODELS = Path(__file__).parents[2] / "generated_models"
SOURCES = {
    "mixtral": (MixtralForCausalLM, MixtralConfig, {"num_local_experts": 4}),
    "qwen3_moe": (Qwen3MoeForCausalLM, Qwen3MoeConfig, {"num_experts": 4, "moe_intermediate_size": 16, "head_dim": 8}),
}
EXPERTS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
KINDS = {
    "all linears": lambda: lora("all-linear"),
    "the router": lambda: lora(["gate"]),
    "the experts": lambda: lora([], target_parameters=EXPERTS),
    "attention and experts": lambda: lora(["q_proj", "v_proj"], target_parameters=EXPERTS[1:]),
    "saved experts": lambda: lora(["k_proj"], modules_to_save=["experts"]),
    "a saved router": lambda: lora(["k_proj"], modules_to_save=["gate"]),
}


@pytest.fixture
def pair(tmp_path):
    def make(name):
        source_class, config_class, options = SOURCES[name]
        torch.manual_seed(0)
        source_class(config_class(**SIZES, num_experts_per_tok=2, **options)).save_pretrained(tmp_path / name)
        classes = (source_class, load_model_class(name, MODELS))
        return tuple(cls.from_pretrained(tmp_path / name).eval() for cls in classes)

    return make


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SOURCES)
def test_it_is_on_the_port_what_it_is_on_the_source(pair, name, kind, tmp_path):
    source, port = pair(name)
    plain = logits(source)
    made = write_adapter(source, KINDS[kind](), tmp_path / "made")
    tuned = load_on(port, tmp_path / "made")
    assert error(logits(made), plain) > 0.1 and error(logits(tuned), logits(made)) < 1e-5
    assert torch.equal(tokens(tuned), tokens(made))
    merged, want = tuned.merge_and_unload(), made.merge_and_unload()
    assert error(logits(merged), logits(want)) < 1e-5

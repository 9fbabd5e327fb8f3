"""Ports of other spellings than Llama's pass parity: gated MLPs with gelu, rotations over neighbours."""

from __future__ import annotations

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from porter.diagnostics import Refused
from porter.emit import emit
from porter.verify.parity import verify
from porter.verify.port import open_port
from porter.verify.tiny import tiny_config
from tests.error_rule import model_roundings, no_further, truth_of
from tests.ports.test_ports import ported

TAKEN = {
    "gemma": "geglu",
    "vaultgemma": "geglu",
    "helium": "rotary_neighbours",
    "ernie4_5": "rotary_neighbours",
    "glm4": "rotary_neighbours",
    "cohere": "rotary_neighbours",
    "gptj": "rotary_neighbours",
    "codegen": "rotary_neighbours",
}


@pytest.mark.parametrize(("model", "rule"), TAKEN.items(), ids=TAKEN)
def test_a_port_by_the_rule_passes_parity(model, rule, tmp_path):
    result = ported(f"transformers.models.{model}", model)
    assert rule in {name for name, _ in result.rules}
    emit(result, tmp_path / model)
    checks = verify(tmp_path / model, quick=True)
    assert not isinstance(checks, Refused)
    assert [check for check in checks if check.failed] == []
    assert sum(check.passed for check in checks) >= 15


@pytest.fixture(scope="module")
def gemma2(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ports") / "gemma2"
    emit(ported("transformers.models.gemma2", "gemma2"), folder)
    port = open_port(folder)
    assert not isinstance(port, Refused)
    return port.load_class()


@pytest.mark.parametrize("activation", ["gelu", "gelu_pytorch_tanh"])
def test_each_gelu_is_the_source_s(gemma2, activation, tmp_path):
    torch.manual_seed(0)
    config = tiny_config(Gemma2Config, hidden_activation=activation)
    source = Gemma2ForCausalLM(config).eval()
    for layer in source.model.layers:  # by erf and by tanh differ by 5e-4 at most: not where all inputs are small
        layer.mlp.gate_proj.weight.data.mul_(60)
    source.save_pretrained(tmp_path)
    port = gemma2.from_pretrained(tmp_path).eval()
    other = {"gelu": "gelu_pytorch_tanh", "gelu_pytorch_tanh": "gelu"}[activation]
    wrong = Gemma2ForCausalLM.from_pretrained(
        tmp_path, config=tiny_config(Gemma2Config, hidden_activation=other)
    ).eval()
    ids = torch.randint(3, config.vocab_size, (2, 9))
    with torch.no_grad():
        found, eager, others = (model(ids).logits for model in (port, source, wrong))
    truth = truth_of(source)(ids).logits
    no_further(found, eager, truth, model_roundings(config, 9))
    with pytest.raises(AssertionError, match="rms error"):
        no_further(others, eager, truth, model_roundings(config, 9))


def test_another_activation_is_refused_when_the_model_is_built(gemma2):
    with pytest.raises(ValueError, match=r"npu_geglu computes gelu; .* asks for 'gelu_new'"):
        gemma2(tiny_config(Gemma2Config, hidden_activation="gelu_new"))

"""A backward pass through a port is an error, never gradients that leave something out."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from porter.npu import torch_npu
from porter.runtime import load_model_class
from tests.error_rule import model_roundings, no_further, truth_of


@pytest.mark.parametrize(
    "work",
    [
        lambda x: torch_npu.npu_rms_norm(x, torch.ones(16))[0],
        lambda x: torch_npu.npu_gemma_rms_norm(x, torch.ones(16))[0],
        lambda x: torch_npu.npu_add_rms_norm(x, x, torch.ones(16))[2],
        lambda x: torch_npu.npu_rotary_mul(x[None], torch.ones(1, 2, 1, 16), torch.ones(1, 2, 1, 16)),
        lambda x: torch_npu.npu_swiglu(x),
        lambda x: torch_npu.npu_geglu(x)[0],
        lambda x: torch_npu.npu_fused_infer_attention_score(x, torch.ones(2, 2, 16), torch.ones(2, 2, 16))[0],
    ],
    ids=["rms_norm", "gemma_rms_norm", "add_rms_norm", "rotary_mul", "swiglu", "geglu", "attention"],
)
def test_an_op_refuses(work):
    x = torch.randn(2, 2, 16, requires_grad=True)
    with pytest.raises(NotImplementedError, match="no gradient here, a port is for inference"):
        work(x).sum().backward()
    assert x.grad is None


def llama():
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=48,
        vocab_size=100,
    )  # fmt: skip
    return load_model_class("llama2")(config), torch.arange(8)[None]


def test_a_port_refuses():
    model, ids = llama()
    with pytest.raises(NotImplementedError, match="npu_add_rms_norm has no gradient"):
        model(ids, labels=ids).loss.backward()


@pytest.mark.filterwarnings("error")  # torch warns of an op without a backward pass
def test_a_step_compiled_with_gradients_on_still_runs_forward(tmp_path):
    model, ids = llama()
    model.save_pretrained(tmp_path)
    truth = truth_of(LlamaForCausalLM.from_pretrained(tmp_path))(ids, use_cache=False).logits
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    logits = compiled(ids, use_cache=False).logits
    no_further(logits, model(ids, use_cache=False).logits, truth, model_roundings(model.config, 8))
    with pytest.raises(NotImplementedError, match="no gradient here"):
        logits.sum().backward()

"""A backward pass through a port is an error, never gradients that leave something out."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from porter.npu import torch_npu
from porter.runtime import load_model_class
from tests.error_rule import model_roundings, no_further, truth_of

EXPERTS = torch.tensor([[0], [1]], dtype=torch.int32)
ROUTED = {"expert_num": 2, "active_expert_range": [0, 2], "expert_tokens_num_flag": True}
GROUPED = {"group_list": torch.tensor([1, 2]), "group_type": 0, "split_item": 2}
ONES, ROWS, PLACES = torch.ones(2, 2, 16), torch.ones(4, 3), torch.arange(4, dtype=torch.int32)

WORK = {
    "rms_norm": lambda x: torch_npu.npu_rms_norm(x, torch.ones(16))[0],
    "gemma_rms_norm": lambda x: torch_npu.npu_gemma_rms_norm(x, torch.ones(16))[0],
    "add_rms_norm": lambda x: torch_npu.npu_add_rms_norm(x, x, torch.ones(16))[2],
    "rotary_mul": lambda x: torch_npu.npu_rotary_mul(x[None], torch.ones(1, 2, 1, 16), torch.ones(1, 2, 1, 16)),
    "swiglu": lambda x: torch_npu.npu_swiglu(x),
    "gelu": torch_npu.npu_gelu,
    "geglu": lambda x: torch_npu.npu_geglu(x)[0],
    "clipped_swiglu": lambda x: torch_npu.npu_clipped_swiglu(x),
    "gating_top_k_softmax": lambda x: torch_npu.npu_moe_gating_top_k_softmax(x, None, 2)[0],
    "gating_top_k": lambda x: torch_npu.npu_moe_gating_top_k(x[0], 2)[0],
    "gating_top_k, bias": lambda x: torch_npu.npu_moe_gating_top_k(ONES[0], 2, bias=x[0, 0])[0],
    "init_routing": lambda x: torch_npu.npu_moe_init_routing_v2(x[0], EXPERTS, **ROUTED)[0],
    "grouped_matmul, x": lambda x: torch_npu.npu_grouped_matmul([x[0]], [torch.ones(2, 16, 3)], **GROUPED)[0],
    "grouped_matmul, weight": lambda x: torch_npu.npu_grouped_matmul([ONES[0, :, :2].contiguous()], [x], **GROUPED)[0],
    "grouped_matmul, bias": lambda x: torch_npu.npu_grouped_matmul(
        [ONES[0, :, :2].contiguous()], [ONES], bias=[x[0]], **GROUPED
    )[0],
    "finalize_routing": lambda x: torch_npu.npu_moe_finalize_routing(
        x[0], None, None, None, torch.ones(2, 1), EXPERTS[:, 0], None, 2
    ),
    "finalize_routing, scales": lambda x: torch_npu.npu_moe_finalize_routing(
        ROWS, None, None, None, x[:, :, 0], PLACES, None, 2
    ),
    "attention": lambda x: torch_npu.npu_fused_infer_attention_score(x, ONES, ONES)[0],
}


@pytest.mark.parametrize("work", WORK.values(), ids=WORK)
def test_an_op_refuses(work):
    x = torch.randn(2, 2, 16, requires_grad=True)
    result = work(x)
    with pytest.raises(NotImplementedError, match="no gradient here, a port is for inference"):
        result.sum().backward()
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

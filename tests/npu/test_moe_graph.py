"""A mixture of experts as one graph: the wheel's nodes, eager's values, one graph for all numbers of tokens."""

import pytest
import torch
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.testing import CompileCounter

from porter.npu import torch_npu

EXPERTS, CHOICES, HIDDEN, INNER = 6, 2, 16, 24
OPS = {
    "npu_moe_gating_top_k_softmax", "npu_moe_gating_top_k", "npu_moe_init_routing_v2", "npu_grouped_matmul",
    "npu_swiglu", "npu_clipped_swiglu", "npu_moe_finalize_routing",
}  # fmt: skip


def block(x, router, gate_up, down, bias):
    """Both routers, both activations; gate_up as a transposed view, as checkpoints hold it."""
    logits = torch.nn.functional.linear(x, router).float()
    weights, experts, _ = torch_npu.npu_moe_gating_top_k_softmax(logits, None, CHOICES)
    second, _, _ = torch_npu.npu_moe_gating_top_k(logits, CHOICES, k_group=1, group_count=2, norm_type=1)
    weights = (weights / weights.sum(-1, keepdim=True) + second).to(x.dtype)
    rows, places, counts, _ = torch_npu.npu_moe_init_routing_v2(
        x, experts, active_num=-1, expert_num=EXPERTS, expert_tokens_num_type=1, expert_tokens_num_flag=True,
        active_expert_range=[0, EXPERTS],
    )  # fmt: skip
    form = {"group_list": counts, "group_list_type": 1, "group_type": 0, "split_item": 2}
    inner = torch_npu.npu_grouped_matmul([rows], [gate_up.transpose(1, 2)], bias=[bias], **form)[0]
    inner = torch_npu.npu_swiglu(inner) + torch_npu.npu_clipped_swiglu(inner)
    rows = torch_npu.npu_grouped_matmul([inner], [down], **form)[0]
    return torch_npu.npu_moe_finalize_routing(rows, x, None, None, weights, places, None, 2)


def parameters():
    torch.manual_seed(1)
    return (
        torch.randn(EXPERTS, HIDDEN),
        torch.randn(EXPERTS, 2 * INNER, HIDDEN),
        torch.randn(EXPERTS, INNER, HIDDEN),
        torch.randn(EXPERTS, 2 * INNER),
    )


def npu_nodes(graph):
    return {str(node.target) for node in graph.graph.nodes if str(node.target).startswith("npu.")}


@torch.no_grad()
@pytest.mark.parametrize(
    "wrap", [lambda keep: keep, lambda keep: aot_autograd(fw_compiler=keep)], ids=["dynamo", "aot"]
)
def test_one_graph_holds_the_ops_as_the_wheel_names_them(wrap):
    graphs = []
    compiled = torch.compile(block, fullgraph=True, backend=wrap(lambda graph, _: graphs.append(graph) or graph))
    x = torch.randn(5, HIDDEN)
    torch.testing.assert_close(compiled(x, *parameters()), block(x, *parameters()), atol=0, rtol=0)
    assert [npu_nodes(graph) for graph in graphs] == [{f"npu.{name}.default" for name in OPS}]


@torch.no_grad()
def test_one_graph_for_all_numbers_of_tokens():
    counter = CompileCounter()
    compiled = torch.compile(block, fullgraph=True, dynamic=True, backend=counter)
    for tokens in (7, 3, 40, 2):
        x = torch.randn(tokens, HIDDEN)
        torch.testing.assert_close(compiled(x, *parameters()), block(x, *parameters()), atol=0, rtol=0)
    assert counter.frame_count == 1


def test_a_broken_contract_names_itself_while_tracing():
    router, gate_up, down, bias = parameters()
    compiled = torch.compile(block, fullgraph=True, backend="eager")
    with pytest.raises(Exception, match=r"npu_grouped_matmul: bias must be \(E, N\) of weight \(6, 16, 48\), got"):
        compiled(torch.randn(3, HIDDEN), router, gate_up, down, bias[1:])

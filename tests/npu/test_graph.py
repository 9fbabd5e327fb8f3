"""Graphs: one graph, the wheel's nodes, eager's values, no recompiles as sizes and lengths move."""

import pytest
import torch
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.testing import CompileCounter

from porter.npu import torch_npu

GAMMA = torch.randn(32)
TABLE = torch.randn(2, 3, 1, 64), torch.randn(2, 3, 1, 64)


def layer(x, residual, cache):
    """Every op once, as a decoder layer has them."""
    y, _, x = torch_npu.npu_add_rms_norm(x, residual, GAMMA, 1e-5)
    y = torch_npu.npu_rms_norm(y, GAMMA)[0] + torch_npu.npu_gemma_rms_norm(y, GAMMA)[0]
    wide = torch.cat((y, y, y, y), -1).view(2, -1, 2, 64)
    rotated = torch_npu.npu_rotary_mul(wide, *TABLE)
    query, key = torch_npu.npu_apply_rotary_pos_emb(rotated.clone(), rotated.clone(), *TABLE)
    torch_npu.scatter_update_(cache, torch.tensor([1, 2]), key, 1)
    cache = torch_npu.scatter_update(cache, torch.tensor([3, 5]), key, 1)
    torch_npu.npu_scatter_nd_update_(cache, torch.tensor([[0], [1]]), cache * 2)
    cache = torch_npu.npu_scatter_nd_update(cache, torch.tensor([[0]]), cache[1:])
    out, _ = torch_npu.npu_fused_infer_attention_score(
        query, cache, cache, num_heads=2, scale=0.125, input_layout="BSND", actual_seq_lengths_kv=[5, 8]
    )
    return torch_npu.npu_swiglu(out) + x.sum(), cache


OPS = {
    "npu_add_rms_norm", "npu_rms_norm", "npu_gemma_rms_norm", "npu_rotary_mul", "npu_apply_rotary_pos_emb",
    "scatter_update_", "scatter_update", "npu_scatter_nd_update_", "npu_scatter_nd_update",
    "npu_fused_infer_attention_score", "npu_swiglu",
}  # fmt: skip


def arguments():
    torch.manual_seed(1)
    return torch.randn(2, 3, 32), torch.randn(2, 3, 32), torch.zeros(2, 8, 2, 64)


def npu_nodes(graph):
    return {str(node.target) for node in graph.graph.nodes if str(node.target).startswith("npu.")}


@torch.no_grad()
def test_dynamo_captures_every_op_as_the_wheel_names_it():
    graphs = []
    compiled = torch.compile(layer, fullgraph=True, backend=lambda graph, _: graphs.append(graph) or graph)
    inputs, eager_inputs = arguments(), arguments()
    torch.testing.assert_close(compiled(*inputs), layer(*eager_inputs), atol=0, rtol=0)
    assert torch.equal(inputs[2], eager_inputs[2]) and inputs[2].any(), "the cache is written in place"
    assert [npu_nodes(graph) for graph in graphs] == [{f"npu.{name}.default" for name in OPS}]


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:npu..npu_apply_rotary_pos_emb")  # it returns what it wrote to, as on the device
@torch._functorch.config.patch(error_on_custom_op_aliasing=False)  # an error where torch takes itself to be in CI
def test_aot_autograd_makes_in_place_ops_pure_and_writes_back():
    graphs = []
    backend = aot_autograd(fw_compiler=lambda graph, _: graphs.append(graph) or graph)
    inputs, eager_inputs = arguments(), arguments()
    result = torch.compile(layer, fullgraph=True, backend=backend)(*inputs)
    torch.testing.assert_close(result, layer(*eager_inputs), atol=0, rtol=0)
    assert torch.equal(inputs[2], eager_inputs[2]) and inputs[2].any()
    assert npu_nodes(graphs[0]) == {f"npu.{name}.default" for name in OPS if not name.endswith("_")}


@torch.no_grad()
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_in_place_write_through_a_view_of_an_intermediate(backend):
    def step(cache, updates):
        cache = cache + 1
        torch_npu.scatter_update_(cache[:, 2:], torch.tensor([0, 1]), updates, 1)
        return cache

    cache, updates = torch.zeros(2, 8, 4), torch.randn(2, 1, 4)
    compiled = torch.compile(step, fullgraph=True, backend=backend)
    assert torch.equal(compiled(cache, updates), step(cache, updates))


@torch.no_grad()
def test_one_graph_for_all_sizes():
    def step(x, cache):
        x = torch_npu.npu_rms_norm(x, GAMMA)[0]
        wide = torch_npu.npu_swiglu(torch.cat((x, x, x, x), -1)).view(x.shape[0], x.shape[1], 4, 16)
        cos = torch.ones(x.shape[0], x.shape[1], 1, 16)
        wide = torch_npu.npu_rotary_mul(wide, cos, cos)
        torch_npu.scatter_update_(cache, torch.zeros(x.shape[0], dtype=torch.int32), wide, 1)
        out, lse = torch_npu.npu_fused_infer_attention_score(
            wide, cache, cache, num_heads=4, input_layout="BSND", softmax_lse_flag=True
        )
        return torch_npu.npu_add_rms_norm(out.flatten(2), out.flatten(2), torch.ones(64))[0], lse

    counter = CompileCounter()
    compiled = torch.compile(step, fullgraph=True, dynamic=True, backend=counter)
    for batch, length, size in [(2, 3, 8), (3, 5, 16), (4, 7, 9), (5, 2, 30)]:
        x, cache = torch.randn(batch, length, 32), torch.zeros(batch, size, 4, 16)
        torch.testing.assert_close(compiled(x, cache), step(x, cache.clone()), atol=0, rtol=0)
    assert counter.frame_count == 1


@torch.no_grad()
def test_decode_does_not_recompile_as_the_length_grows():
    def step(query, cache, lengths):
        options = {"num_heads": 2, "input_layout": "BSND", "actual_seq_lengths_kv": lengths}
        return torch_npu.npu_fused_infer_attention_score(query, cache, cache, **options)[0]

    counter = CompileCounter()
    compiled = torch.compile(step, fullgraph=True, backend=counter)
    query, cache = torch.randn(2, 1, 2, 16), torch.randn(2, 32, 2, 16)
    for length in range(4, 20):
        lengths = [length, length + 3]
        torch.testing.assert_close(compiled(query, cache, lengths), step(query, cache, lengths), atol=0, rtol=0)
    assert counter.frame_count <= 2, "once with the first lengths, once for all"


def test_a_broken_contract_names_itself_while_tracing():
    compiled = torch.compile(lambda x: torch_npu.npu_swiglu(x), fullgraph=True, backend="eager")
    with pytest.raises(Exception, match=r"npu_swiglu: input must have an even size along dim -1, got \(2, 7\)"):
        compiled(torch.zeros(2, 7))

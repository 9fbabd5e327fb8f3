"""The matrix and the tables of the rotation of neighbours: exact, made once, constants of a graph."""

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from porter.npu import torch_npu
from porter.runtime import neighbour_rotation, neighbour_table

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def rotate_half(x):
    return torch.stack((-x[..., 1::2], x[..., 0::2]), dim=-1).flatten(-2)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("rotary_dim", [None, 16, 6, 2])
def test_a_product_with_the_matrix_is_the_rotation_to_the_bit(dtype, rotary_dim):
    x = torch.randn(2, 5, 3, 16).to(dtype)
    turned = x[..., : rotary_dim or 16]
    wanted = torch.zeros_like(x)
    wanted[..., : rotary_dim or 16] = rotate_half(turned)
    matrix = neighbour_rotation(x, rotary_dim)
    assert matrix.dtype is dtype and matrix.shape == (16, 16)
    assert torch.equal(x @ matrix, wanted)
    assert neighbour_rotation(x + 1, rotary_dim) is matrix


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_table_is_the_source_s_to_the_bit(dtype):
    table = torch.randn(2, 5, 16).to(dtype)
    found = neighbour_table(table)
    assert torch.equal(found, table[..., : table.shape[-1] // 2].repeat_interleave(2, dim=-1))


@torch.no_grad()
def test_a_graph_makes_neither_and_is_compiled_once():
    def step(x, cos, sin):
        cos, sin = neighbour_table(cos)[:, :, None], neighbour_table(sin)[:, :, None]
        for _ in range(3):  # layers
            x = torch_npu.npu_rotary_mul(x, cos, sin, "half", neighbour_rotation(x))
        return x

    counter = CompileCounterWithBackend("eager")
    compiled = torch.compile(step, fullgraph=True, backend=counter)
    for _ in range(3):
        x, angle = torch.randn(2, 5, 3, 16), torch.rand(2, 5, 16)
        assert torch.equal(compiled(x, angle.cos(), angle.sin()), step(x, angle.cos(), angle.sin()))
    assert counter.frame_count == 1
    made = [node.target for node in counter.graphs[0].graph.nodes if node.op.startswith("call")]
    assert not any(word in str(target) for target in made for word in ("eye", "arange", "stack", "pad"))
    constants = {node.target for node in counter.graphs[0].graph.nodes if node.op == "get_attr"}
    assert len(constants) == 2, "a matrix and the channels of a table, whatever the number of layers"


def test_both_are_plain_tensors_though_they_are_asked_for_in_inference_mode():
    with torch.inference_mode():
        x = torch.randn(2, 5, 3, 10)
        matrix, table = neighbour_rotation(x), neighbour_table(x)
    assert not matrix.is_inference() and not matrix.requires_grad and table.shape == x.shape

"""The matrix and the tables of the rotation of neighbours: exact, made once, constants of a graph."""

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.models.deepseek_v3.modeling_deepseek_v3 import apply_rotary_pos_emb_interleave

from porter.npu import torch_npu
from porter.runtime import neighbour_rotation, neighbour_table, turn_neighbours_apart
from tests.error_rule import no_further

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


def test_a_graph_may_hold_both():
    """AOT, which TorchAir begins with, wants the constants of a graph to have a name each."""
    x, cos, sin = torch.randn(2, 5, 3, 16), torch.randn(2, 5, 16), torch.randn(2, 5, 16)

    def step(x, cos, sin):
        tables = (neighbour_table(table)[:, :, None] for table in (cos, sin))
        return torch_npu.npu_rotary_mul(x, *tables, "half", neighbour_rotation(x))

    torch._dynamo.reset()
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(x, cos, sin), step(x, cos, sin), rtol=0, atol=0)


def test_both_are_plain_tensors_though_they_are_asked_for_in_inference_mode():
    with torch.inference_mode():
        x = torch.randn(2, 5, 3, 10)
        matrix, table = neighbour_rotation(x), neighbour_table(x)
    assert not matrix.is_inference() and not matrix.requires_grad and table.shape == x.shape


def test_what_is_made_of_fake_tensors_is_not_kept_for_others():
    with FakeTensorMode():
        fake = torch.randn(2, 5, 3, 22)
        assert isinstance(neighbour_rotation(fake), FakeTensor) and isinstance(neighbour_table(fake), FakeTensor)
    x = torch.randn(2, 5, 3, 22)
    assert torch.equal(x @ neighbour_rotation(x), rotate_half(x)) and type(neighbour_table(x)) is torch.Tensor
    with FakeTensorMode() as mode:
        assert isinstance(neighbour_table(mode.from_tensor(x)), FakeTensor)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("width", [64, 32])
@pytest.mark.parametrize("heads_at", [1, 2])
@pytest.mark.parametrize("rows", [1, 2])
def test_neighbours_that_come_out_apart_are_the_source_s(dtype, width, heads_at, rows):
    torch.manual_seed(width + heads_at)
    angle = torch.rand(rows, 5, width // 2).repeat(1, 1, 2)
    cos, sin = angle.cos().to(dtype), angle.sin().to(dtype)
    q, k = (torch.randn((2, n, 5, width) if heads_at == 1 else (2, 5, n, width)).to(dtype) for n in (3, 1))
    found = turn_neighbours_apart(q, k, cos, sin, heads_at)
    source = apply_rotary_pos_emb_interleave(q, k, cos, sin, unsqueeze_dim=heads_at)
    wide = (tensor.double() for tensor in (q, k, cos, sin))
    truth = apply_rotary_pos_emb_interleave(*wide, unsqueeze_dim=heads_at)
    for one, other, right in zip(found, source, truth, strict=True):
        no_further(one, other, right, 3)


def test_one_kernel_turns_64_channels_of_16_bits_whatever_stands_between_them():
    states = torch.randn(2, 5, 3, 96).bfloat16()
    angle = torch.rand(1, 5, 64).bfloat16()
    calls = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            calls.append(func.name())
            return func(*args, **(kwargs or {}))

    with Watch():
        turn_neighbours_apart(states[..., 32:], states[..., :1, 32:], angle.cos(), angle.sin(), 2)
    assert [name for name in calls if name.startswith("npu::")] == ["npu::npu_interleave_rope"] * 2

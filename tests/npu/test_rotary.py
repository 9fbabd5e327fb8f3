"""Rotary embeddings against plain torch: layouts, modes, and who is written to."""

import pytest
import torch

from porter.npu import chip, torch_npu
from porter.runtime import neighbour_rotation


def rotate_half(x):
    half = x.shape[-1] // 2
    return torch.cat((-x[..., half:], x[..., :half]), -1)


def rotate_neighbours(x):
    rotated = torch.empty_like(x)
    rotated[..., 0::2], rotated[..., 1::2] = -x[..., 1::2], x[..., 0::2]
    return rotated


def tables(shape, dtype=torch.float32):
    angles = torch.rand(shape) * 6
    return angles.cos().to(dtype), angles.sin().to(dtype)


FORMS = {  # x -> cos, by layout
    "BNSD": ((2, 4, 6, 16), [(1, 1, 6, 16), (2, 1, 6, 16), (2, 4, 6, 16)]),
    "BSND": ((2, 6, 4, 16), [(1, 6, 1, 16), (2, 6, 1, 16), (2, 6, 4, 16)]),
    "SBND": ((6, 2, 4, 16), [(6, 1, 1, 16), (6, 2, 1, 16), (6, 2, 4, 16)]),
    "TND": ((6, 4, 16), [(6, 1, 16), (6, 4, 16)]),
}
HALF = [(x, table) for x, forms in FORMS.values() for table in forms]
INTERLEAVE = [(x, forms[0]) for x, forms in FORMS.values()]


@pytest.mark.parametrize(("shape", "table"), HALF)
def test_rotary_mul_half(dtype, shape, table, no_worse):
    x, (cos, sin) = torch.randn(shape).to(dtype), tables(table, dtype)
    truth = x.double() * cos.double() + rotate_half(x.double()) * sin.double()
    no_worse(torch_npu.npu_rotary_mul(x, cos, sin), x * cos + rotate_half(x) * sin, truth)


@pytest.mark.parametrize(("shape", "table"), INTERLEAVE)
def test_rotary_mul_interleave(dtype, shape, table, no_worse):
    x, (cos, sin) = torch.randn(shape).to(dtype), tables(table, dtype)
    truth = x.double() * cos.double() + rotate_neighbours(x.double()) * sin.double()
    no_worse(torch_npu.npu_rotary_mul(x, cos, sin, "interleave"), x * cos + rotate_neighbours(x) * sin, truth)


def test_rotary_mul_float32_is_eager_to_the_bit():
    x, (cos, sin) = torch.randn(2, 6, 4, 16), tables((2, 6, 1, 16))
    assert torch.equal(torch_npu.npu_rotary_mul(x, cos, sin), x * cos + rotate_half(x) * sin)


def test_rotary_mul_leaves_its_input_and_takes_views():
    qkv = torch.randn(2, 6, 3 * 4 * 16)
    before = qkv.clone()
    query = qkv.split(64, -1)[1].view(2, 6, 4, 16)
    cos, sin = tables((2, 6, 1, 16))
    out = torch_npu.npu_rotary_mul(query, cos, sin)
    assert out.is_contiguous() and torch.equal(qkv, before)
    assert torch.equal(out, query * cos + rotate_half(query) * sin)


def test_rotary_mul_with_a_matrix():
    x, (cos, sin) = torch.randn(2, 6, 4, 16), tables((2, 6, 1, 16))
    matrix = rotate_half(torch.eye(16))
    # The matrix has one entry of 1 or -1 in each column: its products are exact.
    assert torch.equal(torch_npu.npu_rotary_mul(x, cos, sin, "half", matrix), torch_npu.npu_rotary_mul(x, cos, sin))


@pytest.mark.parametrize("table", [(1, 6, 1, 16), (2, 6, 1, 16), (2, 6, 4, 16)], ids=str)
def test_rotary_mul_of_neighbours_is_a_product_of_complex_numbers(dtype, table, no_worse):
    """Two neighbours are one complex number, turned by its angle."""
    x, angles = torch.randn(2, 6, 4, 16).to(dtype), (torch.rand(*table[:-1], 8) * 6).to(dtype)
    cos, sin = (part.to(dtype).repeat_interleave(2, -1) for part in (angles.cos(), angles.sin()))
    turn = torch.complex(cos[..., ::2].double(), sin[..., ::2].double())
    truth = torch.view_as_real(torch.view_as_complex(x.double().view(2, 6, 4, 8, 2)) * turn).flatten(-2)
    found = torch_npu.npu_rotary_mul(x, cos, sin, "half", neighbour_rotation(x))
    no_worse(found, x * cos + rotate_neighbours(x) * sin, truth)
    if table[0] == 1:
        assert torch.equal(found, torch_npu.npu_rotary_mul(x, cos, sin, "interleave"))


def test_rotary_mul_of_some_channels_leaves_the_others_to_the_bit(dtype):
    x, (cos, sin) = torch.randn(2, 6, 4, 16).to(dtype), tables((2, 6, 1, 16), dtype)
    cos[..., 8:], sin[..., 8:] = 1, 0
    found = torch_npu.npu_rotary_mul(x, cos, sin, "half", neighbour_rotation(x, 8))
    part = x[..., :8].contiguous()
    turned = torch_npu.npu_rotary_mul(part, cos[..., :8], sin[..., :8], "half", neighbour_rotation(part))
    assert torch.equal(found, torch.cat((turned, x[..., 8:]), -1))


@pytest.mark.parametrize("table_dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("mode", ["half", "interleave"])
def test_tables_of_another_dtype_are_cast_to_that_of_x_first(dtype, table_dtype, mode):
    """Not computed at the width of the tables: the cast rounds them, and the result has the dtype of x."""
    x, (cos, sin) = torch.randn(2, 6, 4, 16).to(dtype), tables((1, 6, 1, 16), table_dtype)
    wanted = torch_npu.npu_rotary_mul(x, cos.to(dtype), sin.to(dtype), mode)
    with torch.inference_mode():
        at_once = torch_npu.npu_rotary_mul(x, cos, sin, mode)
    dispatched, traced = (
        torch.ops.npu.npu_rotary_mul(x, cos, sin, mode),
        torch_npu.npu_rotary_mul(x.to("meta"), cos.to("meta"), sin.to("meta"), mode),
    )
    for found in (at_once, dispatched):
        assert found.dtype == dtype and torch.equal(found, wanted)
    assert traced.dtype == dtype and traced.shape == x.shape


@pytest.mark.parametrize(
    ("layout", "query", "key", "table"),
    [
        ("BSND", (2, 5, 4, 64), (2, 5, 2, 64), (2, 5, 1, 64)),
        ("BSH", (2, 5, 4, 128), (2, 5, 2, 128), (2, 5, 1, 128)),
        ("TND", (5, 4, 128), (5, 2, 128), (5, 1, 128)),
    ],
)
def test_apply_rotary_writes_query_and_key_and_returns_them(dtype, layout, query, key, table, no_worse):
    query, key, (cos, sin) = torch.randn(query).to(dtype), torch.randn(key).to(dtype), tables(table, dtype)
    wanted = [(x * cos + rotate_half(x) * sin, x.double() * cos.double() + rotate_half(x.double()) * sin.double())
              for x in (query, key)]  # fmt: skip
    outs = torch_npu.npu_apply_rotary_pos_emb(query, key, cos, sin, layout)
    for out, tensor, (eager, truth) in zip(outs, (query, key), wanted, strict=True):
        assert out.data_ptr() == tensor.data_ptr()
        no_worse(tensor, eager, truth)


def test_apply_rotary_on_views_writes_the_projection():
    qkv = torch.randn(2, 5, 4 * 64)
    before = qkv.clone()
    query, key, value = qkv.split((128, 64, 64), -1)
    cos, sin = tables((2, 5, 1, 64))
    torch_npu.npu_apply_rotary_pos_emb(query.view(2, 5, 2, 64), key.view(2, 5, 1, 64), cos, sin)
    assert torch.equal(value, before[..., 192:])
    first = before[..., :64]
    assert torch.equal(qkv[..., :64], first * cos[:, :, 0] + rotate_half(first) * sin[:, :, 0])


def test_apply_rotary_interleave_on_950():
    query, key, (cos, sin) = torch.randn(2, 3, 5, 32), torch.randn(2, 1, 5, 32), tables((2, 1, 5, 32))
    wanted = query * cos + rotate_neighbours(query) * sin
    with chip("Ascend950"):
        out, _ = torch_npu.npu_apply_rotary_pos_emb(query, key, cos, sin, "BNSD", "interleave")
    assert torch.equal(out, wanted)

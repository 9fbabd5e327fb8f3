"""npu_gelu, npu_swiglu, npu_clipped_swiglu and npu_geglu against plain torch."""

import math

import pytest
import torch

from porter.npu import torch_npu

silu = torch.nn.functional.silu


@pytest.mark.parametrize("dim", [-1, 1, 0])
def test_swiglu(dtype, dim, no_worse):
    x = torch.randn(4, 6, 32).to(dtype)
    gate, up = x.chunk(2, dim)
    wide_gate, wide_up = x.double().chunk(2, dim)
    no_worse(torch_npu.npu_swiglu(x, dim), silu(gate) * up, silu(wide_gate) * wide_up)


def test_swiglu_float32_is_eager_to_the_bit():
    x = torch.randn(4, 64)
    gate, up = x.chunk(2, -1)
    assert torch.equal(torch_npu.npu_swiglu(x), silu(gate) * up)


def test_swiglu_rounds_once():
    x = torch.randn(64, 128).bfloat16()
    gate, up = x.chunk(2, -1)
    y = torch_npu.npu_swiglu(x)
    wide_gate, wide_up = x.float().chunk(2, -1)
    assert torch.equal(y, (silu(wide_gate) * wide_up).bfloat16())
    assert not torch.equal(y, silu(gate) * up)


def clipped(gate, up, alpha, limit, bias):
    """In Python's own double precision, one element."""
    gate, up = min(gate, limit), max(-limit, min(up, limit))
    return gate / (1 + math.exp(-alpha * gate)) * (up + bias)


@pytest.mark.parametrize("interleaved", [True, False])
@pytest.mark.parametrize("options", [{}, {"alpha": 1.1, "limit": 1.5, "bias": 0.25}])
@pytest.mark.parametrize("dim", [-1, 1, 0])
def test_clipped_swiglu(dtype, dim, options, interleaved, no_worse):
    x = (torch.randn(4, 6, 32) * 4).to(dtype)
    alpha, limit, bias = (options.get(name, of) for name, of in (("alpha", 1.702), ("limit", 7.0), ("bias", 1.0)))
    flat = x.flatten(dim % 3).view(*x.shape[: dim % 3], -1)
    gate, up = (flat[..., ::2], flat[..., 1::2]) if interleaved else flat.chunk(2, -1)
    pairs = zip(gate.double().flatten().tolist(), up.double().flatten().tolist(), strict=True)
    truth = torch.tensor([clipped(*pair, alpha, limit, bias) for pair in pairs], dtype=torch.float64)
    bounded, other = gate.clamp(max=limit), up.clamp(-limit, limit)
    eager = (other + bias) * (bounded * torch.sigmoid(bounded * alpha))
    shape = list(x.shape)
    shape[dim] //= 2
    found = torch_npu.npu_clipped_swiglu(x, dim=dim, interleaved=interleaved, **options)
    if dtype is torch.float32:  # another order of the same factors
        torch.testing.assert_close(found.double(), truth.view(shape), rtol=1e-6, atol=1e-7)
    else:
        no_worse(found, eager.contiguous().view(shape), truth.view(shape))


def test_clipped_swiglu_golden():
    """Worked out by hand: gate is clamped from above alone, up from both sides."""
    x = torch.tensor([[9.0, -9.0, -9.0, 9.0, 1.0, 2.0]])
    first, second, third = torch_npu.npu_clipped_swiglu(x)[0].tolist()
    assert first == pytest.approx(7 / (1 + math.exp(-1.702 * 7)) * (-7 + 1))
    assert second == pytest.approx(-9 / (1 + math.exp(1.702 * 9)) * (7 + 1))
    assert third == pytest.approx(1 / (1 + math.exp(-1.702)) * (2 + 1))
    halves = torch.tensor([[9.0, -9.0, 1.0, -9.0, 9.0, 2.0]])
    assert torch.equal(torch_npu.npu_clipped_swiglu(halves, interleaved=False), torch_npu.npu_clipped_swiglu(x))


def test_clipped_swiglu_leaves_rows_beyond_the_groups():
    x = torch.randn(5, 8)
    whole = torch_npu.npu_clipped_swiglu(x)
    for groups, rows in (([1, 2], 3), ([0, 0], 0), ([3, 9], 5)):
        found = torch_npu.npu_clipped_swiglu(x, group_index=torch.tensor(groups))
        assert torch.equal(found[:rows], whole[:rows]) and found[rows:].isnan().all()


def by_formula(x, approximate):
    """GELU in Python's own double precision."""
    if approximate:
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
        return x / 2 * (1 + math.tanh(inner))
    return x / 2 * math.erfc(-x / math.sqrt(2))


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu(dtype, approximate, no_worse):
    x = torch.randn(3, 5, 64).to(dtype)
    truth = torch.tensor([by_formula(value, approximate == "tanh") for value in x.double().flatten().tolist()])
    eager = torch.nn.functional.gelu(x, approximate=approximate)
    no_worse(torch_npu.npu_gelu(x, approximate=approximate), eager, truth.double().view(x.shape))


def test_gelu_golden():
    """Values computed by hand; without a word it is the one by the error function."""
    x = torch.tensor([1.0, -1.0, 0.0])
    assert torch_npu.npu_gelu(x).tolist() == pytest.approx([0.8413447461, -0.1586552539, 0.0], rel=1e-6)
    by_tanh = [0.8411919906, -0.1588080094, 0.0]
    assert torch_npu.npu_gelu(x, approximate="tanh").tolist() == pytest.approx(by_tanh, rel=1e-6)
    assert torch_npu.npu_gelu(torch.ones(3, 2).t()).shape == (2, 3) and torch_npu.npu_gelu(torch.ones(0)).shape == (0,)


def geglu_truth(x, dim, approximate, activate_left):
    halves = x.double().chunk(2, dim)
    gate, other = halves if activate_left else halves[::-1]
    gelu = torch.tensor([by_formula(value, approximate) for value in gate.flatten().tolist()], dtype=torch.float64)
    return gelu.view(gate.shape) * other, gelu.view(gate.shape)


@pytest.mark.parametrize("activate_left", [True, False])
@pytest.mark.parametrize("approximate", [0, 1])
@pytest.mark.parametrize("dim", [-1, 1, 0])
def test_geglu(dtype, dim, approximate, activate_left, no_worse):
    x = torch.randn(4, 6, 32).to(dtype)
    gate, other = x.chunk(2, dim) if activate_left else x.chunk(2, dim)[::-1]
    eager = torch.nn.functional.gelu(gate, approximate=("none", "tanh")[approximate])
    product, gelu = torch_npu.npu_geglu(x, dim, approximate, activate_left)
    truth = geglu_truth(x, dim, approximate, activate_left)
    no_worse(product, eager * other, truth[0])
    no_worse(gelu, eager.contiguous(), truth[1])


def test_geglu_golden():
    """Values computed by hand: gelu(1) is 0.8413447 by erf and 0.8411920 by tanh."""
    x = torch.tensor([[1.0, 3.0]])
    for approximate, gelu in ((0, 0.8413447461), (1, 0.8411919906)):
        left = torch_npu.npu_geglu(x, -1, approximate, True)
        assert left[1].item() == pytest.approx(gelu, rel=1e-6) and left[0].item() == pytest.approx(3 * gelu, rel=1e-6)
    assert torch_npu.npu_geglu(x, -1, 0)[0].item() == pytest.approx(2.9959503, rel=1e-6)  # 1 * gelu(3)


def test_geglu_in_bfloat16_rounds_each_result_once_and_in_float16_gelu_first():
    for dtype, once in ((torch.bfloat16, True), (torch.float16, False)):
        x = torch.randn(64, 128).to(dtype)
        gate, up = x.float().chunk(2, -1)
        gelu = torch.nn.functional.gelu(gate, approximate="tanh")
        rounded_once, rounded_first = (gelu * up).to(dtype), gelu.to(dtype) * up.to(dtype)
        product, activated = torch_npu.npu_geglu(x, activate_left=True)
        assert torch.equal(product, rounded_once if once else rounded_first)
        assert torch.equal(activated, gelu.to(dtype)) and not torch.equal(rounded_once, rounded_first)


def test_geglu_takes_views_and_what_is_empty():
    x = torch.randn(8, 6)
    found, wanted = torch_npu.npu_geglu(x.t()), torch_npu.npu_geglu(x.t().contiguous())
    assert all(a.is_contiguous() and torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    assert [part.shape for part in torch_npu.npu_geglu(x[:0])] == [(0, 3)] * 2

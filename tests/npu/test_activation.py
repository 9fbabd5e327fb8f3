"""npu_swiglu against plain torch."""

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

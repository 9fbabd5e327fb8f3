"""Norms against plain torch: values, roundings, chips."""

import pytest
import torch

from porter.npu import ContractError, chip, torch_npu
from tests.error_rule import no_further


def eager_norm(x, weight, epsilon=1e-6):
    """Llama's spelling: the cast comes before the weight."""
    wide = x.to(torch.float32)
    wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + epsilon)
    return weight * wide.to(x.dtype)


def truth(x, weight, epsilon=1e-6):
    x = x.double()
    return x / (x.pow(2).mean(-1, keepdim=True) + epsilon).sqrt() * weight.double()


def test_rms_norm(dtype, no_worse):
    x, gamma = torch.randn(2, 7, 64).to(dtype), torch.randn(64).to(dtype)
    y, rstd = torch_npu.npu_rms_norm(x, gamma, 1e-5)
    no_worse(y, eager_norm(x, gamma, 1e-5), truth(x, gamma, 1e-5))
    assert rstd.dtype == torch.float32 and rstd.shape == (2, 7, 1)
    eager = (x.float().pow(2).mean(-1, keepdim=True) + 1e-5).rsqrt()
    no_further(rstd, eager, (x.double().pow(2).mean(-1, keepdim=True) + 1e-5).rsqrt(), roundings=64 + 4)


def test_rms_norm_float32_is_eager_to_the_bit():
    x, gamma = torch.randn(2, 7, 64), torch.randn(64)
    assert torch.equal(torch_npu.npu_rms_norm(x, gamma)[0], eager_norm(x, gamma))


def test_rms_norm_multiplies_before_its_only_cast():
    x, gamma = torch.randn(64, 256).bfloat16(), torch.randn(256).bfloat16()
    y, rstd = torch_npu.npu_rms_norm(x, gamma)
    assert torch.equal(y, (x.float() * rstd * gamma.float()).bfloat16())
    assert not torch.equal(y, eager_norm(x, gamma))


def test_rms_norm_takes_a_float32_gamma_beside_bfloat16():
    x, gamma = torch.randn(4, 64).bfloat16(), torch.randn(64)
    y, rstd = torch_npu.npu_rms_norm(x, gamma)
    assert torch.equal(y, (x.float() * rstd * gamma).bfloat16())


def test_rms_norm_over_two_dimensions():
    x, gamma = torch.randn(2, 3, 4, 8), torch.randn(4, 8)
    y, rstd = torch_npu.npu_rms_norm(x, gamma)
    assert rstd.shape == (2, 3, 1, 1)
    flat = truth(x.flatten(2), gamma.flatten())
    no_further(y.flatten(2), eager_norm(x.flatten(2), gamma.flatten()), flat, roundings=32 + 5)


def test_rms_norm_of_a_view_is_contiguous():
    heads = torch.randn(2, 3, 4, 16).transpose(1, 2)
    y, _ = torch_npu.npu_rms_norm(heads, torch.ones(16))
    assert y.is_contiguous()
    no_further(y, eager_norm(heads, torch.ones(16)), truth(heads, torch.ones(16)), roundings=16 + 5)


def test_gemma_rms_norm(dtype, no_worse):
    x, gamma = torch.randn(2, 7, 64).to(dtype), torch.randn(64).to(dtype)
    wide = x.float()
    eager = (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6) * (1.0 + gamma.float())).type_as(x)
    y, rstd = torch_npu.npu_gemma_rms_norm(x, gamma)
    assert torch.equal(y, eager) and rstd.shape == (2, 7, 1)
    no_worse(y, eager, truth(x, 1.0 + gamma.double()))


def test_add_rms_norm_on_a2_is_llama_s_eager_code_to_the_bit(dtype):
    x1, x2, gamma = (torch.randn(*shape).to(dtype) for shape in ((2, 7, 256), (2, 7, 256), (256,)))
    y, rstd, x = torch_npu.npu_add_rms_norm(x1, x2, gamma)
    assert torch.equal(x, x1 + x2)
    assert torch.equal(y, eager_norm(x1 + x2, gamma))
    assert rstd.shape == (2, 7, 1) and rstd.dtype == torch.float32


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_add_rms_norm_cast_is_add_rms_norm_with_a_cast_behind_it(half):
    x1, x2, gamma = (torch.randn(*shape).to(half) for shape in ((2, 7, 256), (2, 7, 256), (256,)))
    wide, *rest = torch_npu.npu_add_rms_norm_cast(x1, x2, gamma, 1e-5)
    alone = torch_npu.npu_add_rms_norm(x1, x2, gamma, 1e-5)
    assert wide.dtype == torch.float32 and torch.equal(wide, alone[0].float())
    assert all(map(torch.equal, rest, alone))
    with pytest.raises(ContractError, match="npu_add_rms_norm_cast: x1 must be one of"):
        torch_npu.npu_add_rms_norm_cast(x1.float(), x2.float(), gamma.float())


@pytest.mark.parametrize("name", ["Ascend910B", "Ascend910_93"])
def test_add_rms_norm_is_the_same_on_a2_and_a3(name):
    x1, x2, gamma = torch.randn(8, 256).bfloat16(), torch.randn(8, 256).bfloat16(), torch.randn(256).bfloat16()
    with chip(name):
        assert torch.equal(torch_npu.npu_add_rms_norm(x1, x2, gamma)[0], eager_norm(x1 + x2, gamma))


def test_add_rms_norm_on_950_norms_the_unrounded_sum_and_rounds_once(no_worse):
    x1, x2, gamma = torch.randn(64, 256).bfloat16(), torch.randn(64, 256).bfloat16(), torch.randn(256).bfloat16()
    total = x1.float() + x2.float()
    with chip("Ascend950"):
        y, rstd, x = torch_npu.npu_add_rms_norm(x1, x2, gamma)
    assert torch.equal(rstd, (total.pow(2).mean(-1, keepdim=True) + 1e-6).rsqrt())
    assert torch.equal(y, (total * rstd * gamma.float()).bfloat16())
    assert torch.equal(x, x1 + x2)
    assert not torch.equal(y, torch_npu.npu_add_rms_norm(x1, x2, gamma)[0])
    no_worse(y, eager_norm(x1 + x2, gamma), truth(x1.double() + x2.double(), gamma))

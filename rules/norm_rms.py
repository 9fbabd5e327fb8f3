"""RMSNorm that casts back before the weight -> npu_rms_norm

Why:      six small kernels become one.
Numerics: the source rounds before the weight multiply, the kernel once, after it: at most 1 ulp apart in bf16 and
          fp16, and closer to fp32.
Contract: torch_npu.npu_rms_norm: x and gamma of one dtype, or gamma fp32; gamma covers the last dimension.
"""

import torch
from torch import nn

from porter.npu import torch_npu
from porter.rule import Edit, Rule

rule = Rule(
    edits=(
        Edit("forward", site="*.forward", unit="function"),
        Edit("init", site="*.__init__", unit="statements", parameters=("width",)),
    ),
)


def before_forward(self, x):
    dtype = x.dtype
    x = x.to(torch.float32)
    variance = x.pow(2).mean(-1, keepdim=True)
    x = x * torch.rsqrt(variance + self.variance_epsilon)
    return self.weight * x.to(dtype)


def after_forward(self, x):
    return torch_npu.npu_rms_norm(x, self.weight, self.variance_epsilon)[0]


def before_init(self, width):
    self.weight = nn.Parameter(torch.ones(width))


def after_init(self, width):
    self.weight = nn.Parameter(torch.ones(width))


def not_forward_zero_centered(self, x):
    """A weight stored as `weight - 1`: the fused kernel would drop the offset."""
    dtype = x.dtype
    x = x.to(torch.float32)
    variance = x.pow(2).mean(-1, keepdim=True)
    x = x * torch.rsqrt(variance + self.variance_epsilon)
    return (1.0 + self.weight) * x.to(dtype)


def not_forward_weight_in_fp32(self, x):
    """The weight multiplied before the cast rounds once: another rule's spelling."""
    dtype = x.dtype
    x = x.to(torch.float32)
    variance = x.pow(2).mean(-1, keepdim=True)
    x = x * torch.rsqrt(variance + self.variance_epsilon)
    return (self.weight * x).to(dtype)


def not_forward_centered(self, x):
    """A mean that is subtracted makes a LayerNorm."""
    dtype = x.dtype
    x = x.to(torch.float32)
    x = x - x.mean(-1, keepdim=True)
    variance = x.pow(2).mean(-1, keepdim=True)
    x = x * torch.rsqrt(variance + self.variance_epsilon)
    return self.weight * x.to(dtype)


def _norm(draw, init):
    self = draw.module(variance_epsilon=1e-6)
    init(self, 64)
    self.weight = draw.normal(*self.weight.shape)
    return self


def proof_before(draw):
    return before_forward(_norm(draw, before_init), draw.normal(2, 7, 64))


def proof_after(draw):
    return after_forward(_norm(draw, after_init), draw.normal(2, 7, 64))

"""RMSNorm that casts back before the weight -> npu_rms_norm

Why:      six small kernels become one.
Numerics: the source rounds before the weight multiply, the kernel once, after it: at most 1 ulp apart in bf16 and
          fp16, and closer to fp32.
Contract: torch_npu.npu_rms_norm: x and gamma of one dtype, or gamma fp32; gamma covers the last dimension.
"""

import torch

from porter.npu import torch_npu
from porter.rule import Rule

rule = Rule(site="*.forward", unit="function")


def before(self, x):
    dtype = x.dtype
    x = x.to(torch.float32)
    variance = x.pow(2).mean(-1, keepdim=True)
    x = x * torch.rsqrt(variance + self.variance_epsilon)
    return self.weight * x.to(dtype)


def after(self, x):
    return torch_npu.npu_rms_norm(x, self.weight, self.variance_epsilon)[0]


def not_zero_centered(self, x):
    """A weight stored as `weight - 1`: the fused kernel would drop the offset."""
    dtype = x.dtype
    x = x.to(torch.float32)
    variance = x.pow(2).mean(-1, keepdim=True)
    x = x * torch.rsqrt(variance + self.variance_epsilon)
    return (1.0 + self.weight) * x.to(dtype)


def not_weight_in_fp32(self, x):
    """The weight multiplied before the cast rounds once: another rule's spelling."""
    dtype = x.dtype
    x = x.to(torch.float32)
    variance = x.pow(2).mean(-1, keepdim=True)
    x = x * torch.rsqrt(variance + self.variance_epsilon)
    return (self.weight * x).to(dtype)


def not_centered(self, x):
    """A mean that is subtracted makes a LayerNorm."""
    dtype = x.dtype
    x = x.to(torch.float32)
    x = x - x.mean(-1, keepdim=True)
    variance = x.pow(2).mean(-1, keepdim=True)
    x = x * torch.rsqrt(variance + self.variance_epsilon)
    return self.weight * x.to(dtype)


def proof(draw):
    return dict(self=draw.module(weight=draw.normal(64), variance_epsilon=1e-6), x=draw.normal(2, 7, 64))

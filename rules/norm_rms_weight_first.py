"""RMSNorm that multiplies by the weight before it casts back -> npu_rms_norm

Why:      six small kernels become one.
Numerics: exact: the kernel multiplies in fp32 and rounds once, as the source does. `npu_add_rms_norm` rounds twice on
          A2 and A3, so there is no form with the residual.
Contract: torch_npu.npu_rms_norm: x and gamma of one dtype, or gamma fp32; gamma covers the last dimension.
"""

import torch

from porter.npu import torch_npu
from porter.rule import Rule

rule = Rule(site="*.forward", unit="function", attributes=("epsilon",))


def before(self, x):
    dtype = x.dtype
    x = x.to(torch.float32)
    variance = x.pow(2).mean(-1, keepdim=True)
    x = x * torch.rsqrt(variance + self.epsilon)
    return (self.weight * x).to(dtype)


def before__wide_weight(self, x):
    dtype = x.dtype
    x = x.to(torch.float32)
    variance = x.pow(2).mean(-1, keepdim=True)
    x = x * torch.rsqrt(variance + self.epsilon)
    return (self.weight.to(torch.float32) * x).to(dtype)


def after(self, x):
    return torch_npu.npu_rms_norm(x, self.weight, self.epsilon)[0]


def not_weight_after_the_cast(self, x):
    """Two roundings: another rule's spelling."""
    dtype = x.dtype
    x = x.to(torch.float32)
    variance = x.pow(2).mean(-1, keepdim=True)
    x = x * torch.rsqrt(variance + self.epsilon)
    return self.weight * x.to(dtype)


def not_with_bias(self, x):
    """The kernel adds nothing."""
    dtype = x.dtype
    x = x.to(torch.float32)
    variance = x.pow(2).mean(-1, keepdim=True)
    x = x * torch.rsqrt(variance + self.epsilon)
    return (self.weight * x + self.bias).to(dtype)


def proof(draw):
    return dict(self=draw.module(weight=draw.normal(64), epsilon=1e-6), x=draw.normal(2, 7, 64))

"""RMSNorm of groups of channels, gated before -> npu_rms_norm of the groups, with ones

Why:      five small kernels become two, of which the ones are a vector's fill.
Numerics: exact: fp32 throughout, a product with 1.0, and the source's own two roundings behind.
Contract: torch_npu.npu_rms_norm: x and gamma of one dtype, here fp32; gamma covers the last dimension, a group. The
          weight has a number for each channel of all groups, so it cannot be the gamma.
"""

import torch
from torch import nn

from porter.npu import torch_npu
from porter.rule import Edit, Rule
from rules.shared.rms_norm import not_forward_weight_after_the_cast

rule = Rule(edits=(Edit(site="norm.forward", unit="function", answers=("norm",)),), attributes=("epsilon", "size"))


def before(self, x, gate):
    dtype = x.dtype
    x = x.to(torch.float32)
    if gate is not None:
        x = x * nn.functional.silu(gate.to(torch.float32))
    *outer, channels = x.shape
    count = channels // self.size
    groups = x.view(*outer, count, self.size)
    variance = groups.pow(2).mean(-1, keepdim=True)
    groups = groups * torch.rsqrt(variance + self.epsilon)
    x = groups.view(*outer, count * self.size)
    return self.weight * x.to(dtype)


def after(self, x, gate):
    dtype = x.dtype
    x = x.to(torch.float32)
    if gate is not None:
        x = x * nn.functional.silu(gate.to(torch.float32))
    groups = x.view(
        *x.shape[:-1], x.shape[-1] // self.size, self.size
    )
    normed = torch_npu.npu_rms_norm(
        groups, groups.new_ones(self.size), self.epsilon
    )[0]
    return self.weight * normed.view(x.shape).to(dtype)


def not_gated_behind(self, x, gate):
    """The gate comes after the norm."""
    dtype = x.dtype
    x = x.to(torch.float32)
    *outer, channels = x.shape
    count = channels // self.size
    groups = x.view(*outer, count, self.size)
    variance = groups.pow(2).mean(-1, keepdim=True)
    groups = groups * torch.rsqrt(variance + self.epsilon)
    x = groups.view(*outer, count * self.size)
    if gate is not None:
        x = x * nn.functional.silu(gate.to(torch.float32))
    return self.weight * x.to(dtype)


def proof(draw):
    self = draw.module(weight=draw.normal(64), epsilon=1e-6, size=draw.choice((16, 32, 64)))
    gate = draw.normal(2, 7, 64) if draw.choice((True, False)) else None
    return dict(self=self, x=draw.normal(2, 7, 64), gate=gate)

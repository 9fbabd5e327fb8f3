"""RMSNorm that casts back before the weight -> npu_rms_norm

Why:      six small kernels become one.
Numerics: the source rounds before the weight multiply, the kernel once, after it: at most 1 ulp apart in bf16 and
          fp16, and closer to fp32.
Contract: torch_npu.npu_rms_norm: x and gamma of one dtype, or gamma fp32; gamma covers the last dimension.
"""

import torch

from porter.npu import torch_npu
from porter.rule import Edit, Rule
from rules.shared.rms_norm import (
    after_init,
    before_init,
    not_forward_centered,
    not_forward_weight_in_fp32,
    not_forward_zero_centered,
)

rule = Rule(
    edits=(
        Edit("forward", site="*.forward", unit="function", answers=("norm",)),
        Edit("init", site="*.__init__", unit="statements"),
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


def _norm(draw, init):
    self = draw.module(variance_epsilon=1e-6)
    init(self, 64)
    self.weight = draw.normal(*self.weight.shape)
    return self


def proof_before(draw):
    return before_forward(_norm(draw, before_init), draw.normal(2, 7, 64))


def proof_after(draw):
    return after_forward(_norm(draw, after_init), draw.normal(2, 7, 64))

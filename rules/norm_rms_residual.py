"""The same RMSNorm, with the residual before it -> npu_add_rms_norm

Why:      the addition and the norm become one kernel; called without a residual it is the plain norm.
Numerics: on A2 and A3 `npu_add_rms_norm` rounds the sum, then the normed value, then multiplies: the source's own
          order, exact. On Ascend 950 it rounds once.
Contract: torch_npu.npu_add_rms_norm: both addends and gamma of one dtype, no empty tensor. It returns the normed
          value, the reciprocal deviation and the sum; the forward returns (normed, sum).
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
        Edit("forward", site="*.forward", unit="function", answers=("norm", "norm_with_residual")),
        Edit("init", site="*.__init__", unit="statements"),
    ),
    on_demand=True,
)


def before_forward(self, x):
    dtype = x.dtype
    x = x.to(torch.float32)
    variance = x.pow(2).mean(-1, keepdim=True)
    x = x * torch.rsqrt(variance + self.variance_epsilon)
    return self.weight * x.to(dtype)


def after_forward(self, x, residual=None) -> torch.Tensor | tuple[torch.Tensor, ...]:
    if residual is None:
        return torch_npu.npu_rms_norm(x, self.weight, self.variance_epsilon)[0]
    normed, _, total = torch_npu.npu_add_rms_norm(residual, x, self.weight, self.variance_epsilon)
    return normed, total


def proof_before(draw):
    self = draw.module(weight=draw.normal(64), variance_epsilon=1e-6)
    x, residual = draw.normal(2, 7, 64), draw.normal(2, 7, 64)
    return before_forward(self, x), before_forward(self, residual + x), residual + x


def proof_after(draw):
    self = draw.module(weight=draw.normal(64), variance_epsilon=1e-6)
    x, residual = draw.normal(2, 7, 64), draw.normal(2, 7, 64)
    return after_forward(self, x), *after_forward(self, x, residual)

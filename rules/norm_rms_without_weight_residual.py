"""RMSNorm without a weight, with the residual before it -> npu_add_rms_norm with ones

Why:      the addition and the norm become one kernel; called without a residual it is the plain norm.
Numerics: on A2 and A3 `npu_add_rms_norm` rounds the sum, then the normed value; a product with 1.0 is exact: the
          source's own order. On Ascend 950 it rounds once.
Contract: torch_npu.npu_add_rms_norm: both addends and gamma of one dtype, no empty tensor. The forward returns
          (normed, sum).
"""

import torch

from porter.npu import torch_npu
from porter.rule import Edit, Rule
from rules.shared.rms_norm import (
    after_helper,
    before_helper,
    not_forward_with_weight,
    not_helper_that_centers,
    not_helper_that_sums,
)

rule = Rule(
    edits=(
        Edit("forward", site="norm.forward", unit="function", answers=("norm", "norm_with_residual")),
        Edit("helper", site="norm._norm", unit="function"),
    ),
    attributes=("epsilon",),
    on_demand=True,
)


def before_forward(self, x):
    return self._norm(x.float()).type_as(x)


def after_forward(self, x, residual=None) -> torch.Tensor | tuple[torch.Tensor, ...]:
    ones = x.new_ones(x.shape[-1])
    if residual is None:
        return torch_npu.npu_rms_norm(x, ones, self.epsilon)[0]
    normed, _, total = torch_npu.npu_add_rms_norm(residual, x, ones, self.epsilon)
    return normed, total


def proof_before(draw):
    self = draw.module(epsilon=1e-6)
    self._norm = lambda x: before_helper(self, x)
    x, residual = draw.normal(2, 7, 64), draw.normal(2, 7, 64)
    return before_forward(self, x), before_forward(self, residual + x), residual + x


def proof_after(draw):
    self = draw.module(epsilon=1e-6)
    x, residual = draw.normal(2, 7, 64), draw.normal(2, 7, 64)
    return after_forward(self, x), *after_forward(self, x, residual)

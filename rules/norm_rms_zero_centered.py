"""RMSNorm with a weight stored as `weight - 1` -> npu_rms_norm with `1 + weight` in fp32

Why:      eight small kernels become one, and two on the weight.
Numerics: exact: fp32 inside, one rounding, as in the source. `1 + weight` is never rounded to 16 bits.
Contract: torch_npu.npu_rms_norm takes an fp32 gamma beside 16-bit x; gamma covers the last dimension. Not
          npu_gemma_rms_norm, which computes the same: TorchAir has no converter for it.
"""

import torch
from torch import nn

from porter.npu import torch_npu
from porter.rule import Argument, Edit, Rule
from rules.shared.rms_norm import after_helper, before_helper, not_helper_that_centers, not_helper_that_sums

rule = Rule(
    edits=(
        Edit("forward", site="norm.forward", unit="function", answers=("norm",)),
        Edit("helper", site="norm._norm", unit="function"),
        Edit("init", site="norm.__init__", unit="statements"),
    ),
    attributes=("epsilon",),
    closes={"npu_add_rms_norm wants gamma in the dtype of x: 1 + weight would be rounded": ("sum", "last_sum")},
)


def before_forward(self, x):
    output = self._norm(x.float())
    output = output * (1.0 + self.weight.float())
    return output.type_as(x)


def after_forward(self, x):
    return torch_npu.npu_rms_norm(x, 1.0 + self.weight.float(), self.epsilon)[0]


def before_init(self, width: Argument):
    self.weight = nn.Parameter(torch.zeros(width))


def after_init(self, width):
    self.weight = nn.Parameter(torch.zeros(width))


def not_forward_with_plain_weight(self, x):
    """Multiplied by the weight as it is: another op."""
    output = self._norm(x.float())
    output = output * self.weight.float()
    return output.type_as(x)


def not_init_with_a_row_for_each_head(self, heads, width):
    """The kernel norms as many dimensions as gamma has."""
    self.weight = nn.Parameter(torch.zeros(heads, width))


def _norm(draw, init):
    self = draw.module(epsilon=1e-6)
    init(self, 64)
    self.weight = draw.normal(*self.weight.shape)
    return self


def proof_before(draw):
    self = _norm(draw, before_init)
    self._norm = lambda x: before_helper(self, x)
    return before_forward(self, draw.normal(2, 7, 64))


def proof_after(draw):
    self = _norm(draw, after_init)
    return after_forward(self, draw.normal(2, 7, 64))

"""RMSNorm without a weight, in a method of its own -> npu_rms_norm with ones

Why:      six small kernels become two, of which the ones are a vector's fill. They are made where they are used: the
          class does not know its width, and TorchAir's own LayerNorm without a weight fills ones in the same way.
Numerics: exact: fp32 inside, a product with 1.0, one rounding, as in the source.
Contract: torch_npu.npu_rms_norm: x and gamma of one dtype; gamma covers the last dimension.
"""

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
        Edit("forward", site="norm.forward", unit="function", answers=("norm",)),
        Edit("helper", site="norm._norm", unit="function"),
    ),
    attributes=("epsilon",),
)


def before_forward(self, x):
    return self._norm(x.float()).type_as(x)


def after_forward(self, x):
    return torch_npu.npu_rms_norm(x, x.new_ones(x.shape[-1]), self.epsilon)[0]


def not_forward_that_stays_wide(self, x):
    """What comes out is fp32, whatever went in."""
    return self._norm(x.float())


def proof_before(draw):
    self = draw.module(epsilon=1e-6)
    self._norm = lambda x: before_helper(self, x)
    return before_forward(self, draw.normal(2, 7, 64))


def proof_after(draw):
    self = draw.module(epsilon=1e-6)
    self._norm = lambda x: after_helper(self, x)
    x = draw.normal(2, 7, 64)
    return after_forward(self, x)

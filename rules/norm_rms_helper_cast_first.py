"""RMSNorm that norms in a method of its own and casts back before the weight -> npu_rms_norm

Why:      six small kernels become one.
Numerics: the source rounds before the weight multiply, the kernel once, after it: at most 1 ulp apart in bf16 and
          fp16, and closer to fp32.
Contract: torch_npu.npu_rms_norm: x and gamma of one dtype, or gamma fp32; gamma covers the last dimension.
"""

from porter.npu import torch_npu
from porter.rule import Edit, Rule
from rules.shared.rms_norm import (
    after_helper,
    after_init,
    before_helper,
    before_init,
    not_helper_that_centers,
    not_helper_that_sums,
    not_init_with_a_row_for_each_head,
)

rule = Rule(
    edits=(
        Edit("forward", site="norm.forward", unit="function", answers=("norm",)),
        Edit("helper", site="norm._norm", unit="function"),
        Edit("init", site="norm.__init__", unit="statements"),
    ),
    attributes=("epsilon",),
)


def before_forward(self, x):
    output = self._norm(x.float()).type_as(x)
    return output * self.weight


def after_forward(self, x):
    return torch_npu.npu_rms_norm(x, self.weight, self.epsilon)[0]


def not_forward_in_its_own_dtype(self, x):
    """Normed in 16 bits: the squares may overflow there, where the kernel's do not."""
    output = self._norm(x).type_as(x)
    return output * self.weight


def not_forward_zero_centered(self, x):
    """A weight stored as `weight - 1`: the kernel would drop the offset."""
    output = self._norm(x.float()).type_as(x)
    return output * (1.0 + self.weight)


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
    self._norm = lambda x: after_helper(self, x)
    return after_forward(self, draw.normal(2, 7, 64))

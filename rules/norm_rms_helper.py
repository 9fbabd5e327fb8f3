"""RMSNorm that norms in a method of its own, in fp32, and then multiplies by its weight -> npu_rms_norm

Why:      seven small kernels become one.
Numerics: exact: the kernel multiplies in fp32 and rounds once, as the source does. `npu_add_rms_norm` rounds twice on
          A2 and A3, so there is no form with the residual.
Contract: torch_npu.npu_rms_norm: x and gamma of one dtype, or gamma fp32; gamma covers the last dimension. A norm that
          has no weight gets ones: one small kernel, which a graph holds as a constant's fill.
"""

import torch
from torch import nn

from porter.npu import torch_npu
from porter.rule import Argument, Edit, Rule
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
    attributes=("epsilon", "has_weight"),
    closes={"npu_add_rms_norm rounds twice: not exact for a norm that multiplies in fp32": ("sum", "last_sum")},
)


def before_forward(self, x):
    output = self._norm(x.float())
    output = output * self.weight.float()
    return output.type_as(x)


def after_forward(self, x):
    return torch_npu.npu_rms_norm(x, self.weight, self.epsilon)[0]


def before_forward__weight_by_choice(self, x):
    output = self._norm(x.float())
    if self.has_weight:
        output = output * self.weight.float()
    return output.type_as(x)


def after_forward__weight_by_choice(self, x):
    weight = self.weight if self.has_weight else x.new_ones(x.shape[-1])
    return torch_npu.npu_rms_norm(x, weight, self.epsilon)[0]


def before_helper__power(self, x: Argument):
    mean_squared = x.pow(2).mean(-1, keepdim=True) + self.epsilon
    return x * torch.pow(mean_squared, -0.5)


def before_init__trained(self, width: Argument):
    self.weight = nn.Parameter(torch.ones(width), requires_grad=True)


def after_init__trained(self, width):
    self.weight = nn.Parameter(torch.ones(width), requires_grad=True)


def not_forward_zero_centered(self, x):
    """A weight stored as `weight - 1`: another rule's."""
    output = self._norm(x.float())
    output = output * (1.0 + self.weight.float())
    return output.type_as(x)


def not_forward_weight_last(self, x):
    """Two roundings: another rule's spelling."""
    output = self._norm(x.float()).type_as(x)
    return output * self.weight


def not_forward_without_weight(self, x):
    """No weight at all: another rule's."""
    return self._norm(x.float()).type_as(x)


def not_forward_in_its_own_dtype(self, x):
    """Normed in 16 bits: the variance may overflow there, where the kernel's does not."""
    output = self._norm(x)
    return output * self.weight


def _norm(draw, helper, init, **attributes):
    self = draw.module(epsilon=1e-6, **attributes)
    init(self, 64)
    self.weight = draw.normal(*self.weight.shape)
    self._norm = lambda x: helper(self, x)
    return self


def proof_before(draw):
    x = draw.normal(2, 7, 64)
    spellings = ((before_helper, before_init), (before_helper__power, before_init__trained))
    norms = [_norm(draw, *spelling, has_weight=True) for spelling in spellings]
    bare = _norm(draw, before_helper, before_init, has_weight=False)
    plain = [before_forward(norm, x) for norm in norms]
    return plain, [before_forward__weight_by_choice(norm, x) for norm in (*norms, bare)]


def proof_after(draw):
    x = draw.normal(2, 7, 64)
    norms = [_norm(draw, after_helper, init, has_weight=True) for init in (after_init, after_init__trained)]
    bare = _norm(draw, after_helper, after_init, has_weight=False)
    plain = [after_forward(norm, x) for norm in norms]
    return plain, [after_forward__weight_by_choice(norm, x) for norm in (*norms, bare)]

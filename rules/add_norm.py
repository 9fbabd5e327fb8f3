"""Residual addition followed by a norm, inside a layer -> one call of the norm with the residual

Why:      the addition disappears into `npu_add_rms_norm`, which also returns the sum for the next addition.
Numerics: those of `norm_rms_residual`, which must take the norm's class.
Contract: as `norm_rms_residual`: the branch and the residual have one shape and one dtype.
"""

from torch import nn

from porter.rule import Edit, Rule, Varying
from porter.runtime import add_norm

rule = Rule(
    edits=(Edit(site="layer.forward", unit="statements", answers=("sum",)),),
    attributes=("norm",),
    requires={"norm": "norm_with_residual"},
)


def before(self, residual: Varying, branch: Varying):
    hidden_states = residual + branch
    residual = hidden_states
    hidden_states = self.norm(hidden_states)


def after(self, residual, branch):
    hidden_states, residual = add_norm(
        self.norm, branch, residual
    )


def not_a_difference(self, residual, branch):
    """A subtraction is not what the kernel computes."""
    hidden_states = residual - branch
    residual = hidden_states
    hidden_states = self.norm(hidden_states)


def not_norm_of_the_branch(self, residual, branch):
    """The branch is normed before the addition: the sum feeds no norm."""
    branch = self.norm(branch)
    hidden_states = residual + branch
    residual = hidden_states


class _Norm(nn.Module):
    def __init__(self, draw):
        super().__init__()
        self.weight = draw.normal(64)

    def forward(self, x, residual=None):
        total = x if residual is None else residual + x
        return total * self.weight if residual is None else (total * self.weight, total)


def proof(draw):
    return dict(self=draw.module(norm=_Norm(draw)), residual=draw.normal(2, 7, 64), branch=draw.normal(2, 7, 64))

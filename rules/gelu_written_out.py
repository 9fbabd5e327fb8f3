"""GELU by tanh, written out in nine small kernels behind an autograd function -> one op

Why:      the same formula, by one kernel.
Numerics: the source rounds each of its steps, the op computes in fp32 and rounds once: closer to fp32. The source's
          0.79788456 and the op's square root of 2 / pi are one number in fp32.
Contract: plain torch: `gelu` with the tanh approximation. The autograd function stays, with its backward.
"""

import torch

from porter.rule import Argument, Edit, Rule

rule = Rule(
    edits=(
        Edit("formula", site="function", unit="function"),
        Edit("forward", site="activation.forward", unit="function", answers=("activation",)),
    ),
)


def before_formula(x):
    return x * 0.5 * (1.0 + torch.tanh(0.79788456 * x * (1 + 0.044715 * x * x)))


def after_formula(x):
    return torch.nn.functional.gelu(x, approximate="tanh")


def before_forward(self, x: Argument):
    return GeLUFunction.apply(x)  # noqa: F821


def after_forward(self, x):
    return GeLUFunction.apply(x)  # noqa: F821


def not_formula_of_the_error_function(x):
    """GELU itself: the op's other formula."""
    return x * 0.5 * (1.0 + torch.erf(x * 0.70710678))


def not_formula_of_a_sigmoid(x):
    """Another approximation."""
    return x * torch.sigmoid(1.702 * x)


def proof_before(draw):
    return before_formula(draw.normal(2, 7, 64))


def proof_after(draw):
    return after_formula(draw.normal(2, 7, 64))

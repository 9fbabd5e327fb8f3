"""Gate and up projections with a call of silu -> one projection and npu_swiglu

Why:      one matrix product for two, and one kernel for silu and the product.
Numerics: fp32 inside and one rounding, where the source rounds silu(gate) first: closer to fp32.
Contract: torch_npu.npu_swiglu activates the first half: the merged rows are [gate; up].
"""

import torch
from torch import nn
from torch.nn import functional as F

from porter.npu import torch_npu
from porter.rule import Edit, Rule

rule = Rule(
    edits=(
        Edit("forward", site="mlp.forward", unit="expression", answers=("gate",)),
        Edit("init", site="mlp.__init__", unit="statements"),
    ),
    attributes=("gate_proj", "up_proj"),
    merges={"gate_up": ("gate_proj", "up_proj")},
)


def before_forward(self, x):
    F.silu(self.gate_proj(x)) * self.up_proj(x)


def after_forward(self, x):
    torch_npu.npu_swiglu(self.gate_up(x))


def before_init(self, width, inner, bias):
    self.gate_proj = nn.Linear(width, inner, bias=bias)
    self.up_proj = nn.Linear(width, inner, bias=bias)


def after_init(self, width, inner, bias):
    self.gate_up = nn.Linear(width, 2 * inner, bias=bias)


def not_forward_with_gelu(self, x):
    """The kernel computes silu."""
    F.gelu(self.gate_proj(x)) * self.up_proj(x)


def not_forward_of_two_inputs(self, x, y):
    """One product has one input."""
    F.silu(self.gate_proj(x)) * self.up_proj(y)


def not_init_of_another_width(self, width, inner, wider, bias):
    """The kernel takes halves."""
    self.gate_proj = nn.Linear(width, inner, bias=bias)
    self.up_proj = nn.Linear(width, wider, bias=bias)


def _rows(draw):
    """Rows that pick gate and up out of the input unrounded: what is compared is the activation and its product."""
    rows = torch.eye(64, dtype=draw.dtype)
    return rows[:32], rows[32:]


def proof_before(draw):
    self = draw.module()
    before_init(self, 64, 32, False)
    for linear, rows in zip((self.gate_proj, self.up_proj), _rows(draw), strict=True):
        linear.weight = nn.Parameter(rows, requires_grad=False)
    return before_forward(self, draw.normal(2, 7, 64))


def proof_after(draw):
    self = draw.module()
    after_init(self, 64, 32, False)
    self.gate_up.weight = nn.Parameter(torch.cat(_rows(draw)), requires_grad=False)
    return after_forward(self, draw.normal(2, 7, 64))

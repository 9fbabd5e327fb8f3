"""Gate and up projections with silu -> one projection and npu_swiglu

Why:      one matrix product for two, and one kernel for silu and the product.
Numerics: fp32 inside and one rounding, where the source rounds silu(gate) first: closer to fp32.
Contract: torch_npu.npu_swiglu activates the first half: the merged rows are [gate; up]. Only silu is that kernel, so a
          configuration with another activation is refused when the model is built.
"""

import torch
from torch import nn

from porter.npu import torch_npu
from porter.rule import Edit, Rule

rule = Rule(
    edits=(
        Edit("forward", site="mlp.forward", unit="expression"),
        Edit("init", site="mlp.__init__", unit="statements"),
    ),
    guards={"activation": ("silu", "swish")},
    merges=(("gate_up", ("gate_proj", "up_proj"), None),),
)


def before_forward(self, x):
    self.act_fn(self.gate_proj(x)) * self.up_proj(x)


def after_forward(self, x):
    torch_npu.npu_swiglu(self.gate_up(x))


def before_init(self, width, inner, bias, activation):
    self.gate_proj = nn.Linear(width, inner, bias=bias)
    self.up_proj = nn.Linear(width, inner, bias=bias)
    ...
    self.act_fn = ACT2FN[activation]


def after_init(self, width, inner, bias, activation):
    self.gate_up = nn.Linear(width, 2 * inner, bias=bias)
    ...
    if activation not in ("silu", "swish"):
        raise ValueError(f"npu_swiglu computes silu; this configuration asks for {activation!r}")


def not_forward_with_gate_last(self, x):
    """The activation must be on the gate."""
    self.act_fn(self.up_proj(x)) * self.gate_proj(x)

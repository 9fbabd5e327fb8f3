"""Gate and up projections with gelu -> one projection and npu_geglu

Why:      one matrix product for two, and one kernel for gelu and the product.
Numerics: fp32 inside; in bf16 one rounding, where the source rounds gelu(gate) first: closer to fp32. In fp16 the
          kernel rounds gelu(gate) first too.
Contract: torch_npu.npu_geglu activates the right half unless told otherwise: the merged rows are [gate; up], and
          activate_left is True. approximate is 1 for the tanh form and 0 for erf: a configuration with another
          activation is refused when the model is built.
"""

import torch
from torch import nn
from transformers.activations import ACT2FN

from porter.npu import torch_npu
from porter.rule import Edit, Rule

rule = Rule(
    edits=(
        Edit("forward", site="mlp.forward", unit="expression", answers=("gate",)),
        Edit("init", site="mlp.__init__", unit="statements"),
    ),
    supersedes=("gelu",),
    guards={"activation": ("gelu", "gelu_pytorch_tanh")},
    merges={"gate_up": ("gate_proj", "up_proj")},
)


def before_forward(self, x):
    self.act_fn(self.gate_proj(x)) * self.up_proj(x)


def after_forward(self, x):
    torch_npu.npu_geglu(self.gate_up(x), -1, self.approximate, True)[0]


def before_init(self, width, inner, bias, activation):
    self.gate_proj = nn.Linear(width, inner, bias=bias)
    self.up_proj = nn.Linear(width, inner, bias=bias)
    ...
    self.act_fn = ACT2FN[activation]


def after_init(self, width, inner, bias, activation):
    self.gate_up = nn.Linear(width, 2 * inner, bias=bias)
    ...
    if activation not in ("gelu", "gelu_pytorch_tanh"):
        raise ValueError(f"npu_geglu computes gelu; this configuration asks for {activation!r}")
    self.approximate = int(activation == "gelu_pytorch_tanh")


def not_forward_with_gate_last(self, x):
    """The activation must be on the gate."""
    self.act_fn(self.up_proj(x)) * self.gate_proj(x)


def not_forward_sparse(self, x):
    """What is done to the gate before its activation is no gelu of the projection."""
    self.act_fn(self._gaussian_topk(self.gate_proj(x))) * self.up_proj(x)


def _rows(draw):
    """Rows that pick gate and up out of the input unrounded: what is compared is the activation and its product."""
    rows = torch.eye(64, dtype=draw.dtype)
    return rows[:32], rows[32:]


def proof_before(draw):
    self = draw.module()
    before_init(self, 64, 32, False, draw.choice(("gelu", "gelu_pytorch_tanh")))
    for linear, rows in zip((self.gate_proj, self.up_proj), _rows(draw), strict=True):
        linear.weight = nn.Parameter(rows, requires_grad=False)
    return before_forward(self, draw.normal(2, 7, 64))


def proof_after(draw):
    self = draw.module()
    after_init(self, 64, 32, False, draw.choice(("gelu", "gelu_pytorch_tanh")))
    self.gate_up.weight = nn.Parameter(torch.cat(_rows(draw)), requires_grad=False)
    return after_forward(self, draw.normal(2, 7, 64))

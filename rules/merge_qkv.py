"""q, k and v projections of one input -> one projection, split behind it

Why:      one large matrix product in place of one large and two small ones.
Numerics: the same products and sums, row by row.
Contract: the three have one input, one bias flag and no use elsewhere. The merged rows are [q; k; v]; a checkpoint of
          the source loads unchanged and is written back unchanged. The name is not `qkv_proj`, which makes DeepSpeed
          split it by thirds.
"""

import torch
from torch import nn

from porter.rule import Edit, Rule
from rules.shared.merged_qkv import (
    after_init,
    after_init__other_values,
    before_init,
    before_init__other_values,
    before_init__query_last,
)

rule = Rule(
    edits=(
        Edit("forward", site="attention.forward", unit="expressions", answers=("qkv",)),
        Edit("init", site="attention.__init__", unit="statements"),
    ),
    merges={"qkv": ("q_proj", "k_proj", "v_proj")},
)


def before_forward(self, x):
    self.q_proj(x)
    self.k_proj(x)
    self.v_proj(x)


def after_forward(self, x):
    query, key, value = self.qkv(x).split(self.qkv_sizes, dim=-1)
    query
    key
    value


def not_forward_from_two_inputs(self, x, y):
    """Cross-attention takes k and v from another sequence."""
    self.q_proj(x)
    self.k_proj(y)
    self.v_proj(y)


def not_init_with_two_biases(self, width, q_width, kv_width):
    """One merged linear has a bias for all rows or for none."""
    self.q_proj = nn.Linear(width, q_width, bias=True)
    self.k_proj = nn.Linear(width, kv_width, bias=False)
    self.v_proj = nn.Linear(width, kv_width, bias=True)


def _fill(draw, linear, parts):
    """Give `linear` the drawn rows of its parts, in their order."""
    drawn = [draw.linear(part.in_features, part.out_features, bias=True) for part in parts]
    linear.weight = nn.Parameter(torch.cat([part.weight for part in drawn]), requires_grad=False)
    linear.bias = nn.Parameter(torch.cat([part.bias for part in drawn]), requires_grad=False)


def proof_before(draw):
    found = []
    for init, values in ((before_init, ()), (before_init__query_last, ()), (before_init__other_values, (16,))):
        self = draw.module()
        init(self, 64, 64, 32, *values, True)
        for part in (self.q_proj, self.k_proj, self.v_proj):
            _fill(draw, part, [part])
        found.append(before_forward(self, draw.normal(2, 7, 64)))
    return found


def proof_after(draw):
    found = []
    for init, values in ((after_init, ()), (after_init, ()), (after_init__other_values, (16,))):
        self = draw.module()
        init(self, 64, 64, 32, *values, True)
        _fill(draw, self.qkv, [nn.Linear(64, rows) for rows in self.qkv_sizes])
        found.append(after_forward(self, draw.normal(2, 7, 64)))
    return found

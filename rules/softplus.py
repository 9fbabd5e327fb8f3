"""A gate by softplus -> the same, written out

Why:      TorchAir has no converter for `softplus`, and of a graph with one nothing is lowered at all.
Numerics: log(1 + exp) in the gate's own dtype, which the source makes fp32. Far below zero the sum is one and the gate
          zero, where softplus is less than 6e-8. Above 20 both are the identity.
Contract: none: plain torch.
"""

import torch
from torch.nn import functional as F

from porter.rule import Edit, Rule

rule = Rule(edits=(Edit(site="*.forward", unit="statements"),))


def before(x, like):
    gate = F.softplus(x.to(torch.float32)).to(like.dtype)


def after(x, like):
    gate = x.to(torch.float32)
    gate = torch.where(gate > 20, gate, torch.log(1 + torch.exp(gate))).to(like.dtype)


def not_steeper(x, like):
    """It turns faster, and is the identity from elsewhere on."""
    gate = F.softplus(x.to(torch.float32), beta=2.0).to(like.dtype)


def not_in_the_dtype_of_the_input(x, like):
    """In 16 bits the sum rounds away what softplus keeps."""
    gate = F.softplus(x).to(like.dtype)


def _given(draw):
    x = draw.normal(2, 7, 64) * draw.choice((1, 30))
    return x, x


def proof_before(draw):
    return before(*_given(draw))["gate"]


def proof_after(draw):
    return after(*_given(draw))["gate"]

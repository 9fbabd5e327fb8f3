"""A norm for each head, of heads in BNSD -> the same of heads in BSND

Why:      attention over heads in BSND has them in the last dimension but one.
Numerics: the source's own: the same norms of the same heads.
Contract: for attention that asks for it alone: elsewhere the heads are where the source has them.
"""

import torch

from porter.rule import Edit, Rule

rule = Rule(
    edits=(Edit(site="norm.forward", unit="function", answers=("norm",)),),
    attributes=("norms",),
    on_demand=True,
)


def before(self, x):
    heads = torch.split(x, 1, dim=1)
    return torch.cat([norm(x) for norm, x in zip(self.norms, heads)], dim=1)


def after(self, x):
    heads = torch.split(x, 1, dim=-2)
    return torch.cat([norm(head) for norm, head in zip(self.norms, heads)], dim=-2)


def not_by_position(self, x):
    """Another dimension than that of the heads."""
    heads = torch.split(x, 1, dim=2)
    return torch.cat([norm(x) for norm, x in zip(self.norms, heads)], dim=2)


def _norms(draw):
    norms = torch.nn.ModuleList(torch.nn.LayerNorm(16, bias=False, dtype=draw.dtype) for _ in range(4))
    for norm in norms.requires_grad_(False):
        norm.weight.copy_(draw.normal(16))
    return draw.module(norms=norms)


def proof_before(draw):
    return before(_norms(draw), draw.normal(2, 7, 4, 16).transpose(1, 2)).transpose(1, 2)


def proof_after(draw):
    return after(_norms(draw), draw.normal(2, 7, 4, 16))

"""q, k and v cut out of one projection -> split behind it

Why:      there is nothing to merge, one matrix product gives all three; three slices are three kernels, a split is one.
Numerics: the source's own: the same channels.
Contract: none.
"""

import torch

from porter.rule import Edit, Rule

rule = Rule(edits=(Edit(site="attention.forward", unit="statements", answers=("qkv",)),), attributes=("qkv",))


def before(self, x, first, width):
    fused = self.qkv(x)
    ...
    query = fused[..., :first]
    key = fused[..., first : first + width]
    value = fused[..., first + width :]


def after(self, x, first, width):
    fused = self.qkv(x)
    ...
    query, key, value = torch.split(
        fused,
        [
            first,
            width,
            fused.shape[-1] - first - width,
        ],
        dim=-1,
    )


def not_overlapping(self, x, first, last):
    """Keys and values that share channels are no split."""
    fused = self.qkv(x)
    query = fused[..., :first]
    key = fused[..., first:]
    value = fused[..., last:]


def not_of_another(self, x, first, last):
    """Values of another projection stay where they are."""
    fused = self.qkv(x)
    other = self.gate(x)
    query = fused[..., :first]
    key = fused[..., first:last]
    value = other[..., last:]


def proof(draw):
    return dict(self=draw.module(qkv=draw.linear(64, 128)), x=draw.normal(2, 7, 64), first=64, width=32)

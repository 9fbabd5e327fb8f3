"""q, k and v of one projection -> as they are

Why:      there is nothing to merge: one matrix product gives all three.
Numerics: the source's own.
Contract: none.
"""

import torch

from porter.rule import Edit, Rule

rule = Rule(edits=(Edit(site="attention.forward", unit="statements", answers=("qkv",)),), attributes=("qkv", "parted"))


def before(self, x):
    """q, k and v are one projection already"""
    fused = self.qkv(x)
    ...
    query, key, value = self.parted(fused)


def before__chunked(self, x, shape):
    """q, k and v are one projection already"""
    fused = self.qkv(x).view(shape).transpose(1, 2)
    query, key, value = fused.chunk(3, dim=-1)


def before__by_ranks(self, x, shape, width):
    """q, k and v are one projection already"""
    fused = self.qkv(x)
    ...
    split = fused.reshape(shape)
    ...
    query, value, key = torch.split(split, width, dim=-1)


def not_of_two(self, x, y):
    """Keys and values of another sequence are another projection."""
    query = self.q_attn(x)
    key, value = self.c_attn(y).split(self.split_size, dim=2)

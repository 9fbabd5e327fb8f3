"""Projections of multi-head latent attention -> as they are

Why:      no q, k and v have one input: keys and values are expanded out of a latent, and queries come of a bottleneck
          with a norm of its own, or of none, as the configuration says. The two projections down from the hidden states
          could be one product where there are two: a kernel less in a layer, which no rule takes yet.
Numerics: the source's own.
Contract: none.
"""

import torch

from porter.rule import Edit, Rule

rule = Rule(edits=(Edit(site="attention.forward", unit="statements", answers=("qkv",)),))


def before(self, x, rank, width):
    """no q, k and v have one input: keys and values are expanded out of a latent, and queries come of another"""
    down = self.kv_a_proj_with_mqa(x)
    latent, rope = torch.split(down, [rank, width], dim=-1)
    ...
    key, value = self.expand_kv(...)


def not_of_plain_projections(self, x):
    """Three projections of one input are one product."""
    query = self.q_proj(x)
    key = self.k_proj(x)
    value = self.v_proj(x)

"""Rotary position embedding over halves, by the negative angle -> npu_rotary_mul with the negative sine

Why:      five kernels a tensor become one; the sign is one kernel more, for q and k together.
Numerics: fp32 inside, one rounding; a sign is exact.
Contract: torch_npu.npu_rotary_mul, mode half: q and k 4-D with an even head_dim below 896; cos and sin of the same
          rank, their heads dimension 1.
"""

import torch

from porter.npu import torch_npu
from porter.rule import Edit, Rule
from rules.shared.rotary import given_rotate_half__backwards, not_subtracted

rule = Rule(edits=(Edit(site="function", unit="function", answers=("rotation",)),))


def before(q, k, cos, sin, unsqueeze_dim):
    cos = cos.unsqueeze(unsqueeze_dim)
    sin = sin.unsqueeze(unsqueeze_dim)
    q_embed = (q * cos) + (rotate_half(q) * sin)
    k_embed = (k * cos) + (rotate_half(k) * sin)
    return q_embed, k_embed


def after(q, k, cos, sin, unsqueeze_dim):
    cos = cos.unsqueeze(unsqueeze_dim)
    sin = -sin.unsqueeze(unsqueeze_dim)
    return torch_npu.npu_rotary_mul(q, cos, sin), torch_npu.npu_rotary_mul(k, cos, sin)


def proof(draw):
    angle = draw.uniform(2, 7, 32)
    cos, sin = torch.cat((angle.cos(), angle.cos()), -1), torch.cat((angle.sin(), angle.sin()), -1)
    return dict(q=draw.normal(2, 7, 4, 64), k=draw.normal(2, 7, 2, 64), cos=cos, sin=sin, unsqueeze_dim=2)

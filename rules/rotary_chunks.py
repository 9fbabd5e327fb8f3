"""Rotary position embedding over chunks, with cos and sin of half a head -> npu_rotary_mul

Why:      eight kernels a tensor become one; cos and sin are doubled for q and k together.
Numerics: fp32 inside, one rounding, where the source rounds each product and their sum.
Contract: torch_npu.npu_rotary_mul, mode half: q and k 4-D with an even head_dim below 896; cos and sin as wide as they
          are, of the same rank, their heads dimension 1.
"""

import torch

from porter.npu import torch_npu
from porter.rule import Edit, Rule
from rules.shared.half_tables import given__apply_rotary_emb

rule = Rule(edits=(Edit(site="function", unit="function", answers=("rotation",)),))


def before(q, k, cos, sin, unsqueeze_dim):
    cos = cos.unsqueeze(unsqueeze_dim)
    sin = sin.unsqueeze(unsqueeze_dim)
    q_embed = _apply_rotary_emb(q, cos, sin)
    k_embed = _apply_rotary_emb(k, cos, sin)
    return q_embed, k_embed


def after(q, k, cos, sin, unsqueeze_dim):
    cos = torch.cat((cos, cos), dim=-1).unsqueeze(unsqueeze_dim)
    sin = torch.cat((sin, sin), dim=-1).unsqueeze(unsqueeze_dim)
    return torch_npu.npu_rotary_mul(q, cos, sin), torch_npu.npu_rotary_mul(k, cos, sin)


def before__one(x, cos, sin):
    first_half, second_half = torch.chunk(x, 2, dim=-1)
    first_ = first_half * cos - second_half * sin
    second_ = second_half * cos + first_half * sin
    return torch.cat((first_, second_), dim=-1)


def after__one(x, cos, sin):
    return torch_npu.npu_rotary_mul(x, torch.cat((cos, cos), dim=-1), torch.cat((sin, sin), dim=-1))


def not_the_whole_table(q, k, cos, sin, unsqueeze_dim):
    """Cos and sin as wide as a head need no doubling."""
    cos = cos.unsqueeze(unsqueeze_dim)
    sin = sin.unsqueeze(unsqueeze_dim)
    q_embed = (q * cos) + (rotate_half(q) * sin)
    k_embed = (k * cos) + (rotate_half(k) * sin)
    return q_embed, k_embed


def not_turned_back(q, k, cos, sin, unsqueeze_dim):
    """The rotation by the negative angle."""
    cos = cos.unsqueeze(unsqueeze_dim)
    sin = -sin.unsqueeze(unsqueeze_dim)
    q_embed = _apply_rotary_emb(q, cos, sin)
    k_embed = _apply_rotary_emb(k, cos, sin)
    return q_embed, k_embed


def not_of_the_query_alone(q, k, cos, sin, unsqueeze_dim):
    """Keys that do not turn."""
    cos = cos.unsqueeze(unsqueeze_dim)
    sin = sin.unsqueeze(unsqueeze_dim)
    return _apply_rotary_emb(q, cos, sin), k


def not_one_turned_back(x, cos, sin):
    """The rotation by the negative angle, written out."""
    first_half, second_half = torch.chunk(x, 2, dim=-1)
    first_ = first_half * cos + second_half * sin
    second_ = second_half * cos - first_half * sin
    return torch.cat((first_, second_), dim=-1)


def not_one_of_three_parts(x, cos, sin):
    """What is cut in other parts than halves."""
    first_half, second_half, rest = torch.chunk(x, 3, dim=-1)
    first_ = first_half * cos - second_half * sin
    second_ = second_half * cos + first_half * sin
    return torch.cat((first_, second_, rest), dim=-1)


def proof__one(draw):
    angle = draw.uniform(2, 7, 1, 32)
    return dict(x=draw.normal(2, 7, 4, 64), cos=angle.cos(), sin=angle.sin())


def proof(draw):
    angle = draw.uniform(2, 7, 32)
    q, k = draw.normal(2, 7, 4, 64), draw.normal(2, 7, 2, 64)
    return dict(q=q, k=k, cos=angle.cos(), sin=angle.sin(), unsqueeze_dim=2)

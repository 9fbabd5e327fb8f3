"""Rotary position embedding over neighbours that come out apart, in halves -> npu_interleave_rope

Why:      ten kernels a tensor (four slices, four products, a sum, a join) become one.
          `npu_interleave_rope` takes 64 channels, which is what published models of this kind have, in 16 bits; where
          there are others, the channels are brought apart and npu_rotary_mul turns them.
Numerics: fp32 inside, one rounding: at least as close to fp32 as the source. Where the source rotates in fp32 the op
          gets the wider dtype of states and tables.
Contract: torch_npu.npu_interleave_rope: A2 and A3, x (B, N, S, 64) contiguous and tables for every row. Heads behind
          the positions, BSND, go in as rows of one position, which is a view. Else torch_npu.npu_rotary_mul, mode half.
"""

import torch

from porter.rule import Edit, Rule
from porter.runtime import turn_neighbours_apart

rule = Rule(edits=(Edit(site="function", unit="function", answers=("rotation",)),))


def before(q, k, cos, sin, unsqueeze_dim):
    cos = cos[..., : cos.shape[-1] // 2].unsqueeze(unsqueeze_dim)
    sin = sin[..., : sin.shape[-1] // 2].unsqueeze(unsqueeze_dim)
    q1, q2 = q[..., 0::2], q[..., 1::2]
    k1, k2 = k[..., 0::2], k[..., 1::2]
    q_embed = torch.cat([q1 * cos - q2 * sin, q2 * cos + q1 * sin], dim=-1)
    k_embed = torch.cat([k1 * cos - k2 * sin, k2 * cos + k1 * sin], dim=-1)
    return q_embed, k_embed


def after(q, k, cos, sin, unsqueeze_dim):
    return turn_neighbours_apart(q, k, cos, sin, unsqueeze_dim)


def not_back_in_pairs(q, k, cos, sin, unsqueeze_dim):
    """Neighbours that are turned and stay neighbours: what comes out is in another order."""
    cos = cos[..., : cos.shape[-1] // 2].unsqueeze(unsqueeze_dim)
    sin = sin[..., : sin.shape[-1] // 2].unsqueeze(unsqueeze_dim)
    q1, q2 = q[..., 0::2], q[..., 1::2]
    k1, k2 = k[..., 0::2], k[..., 1::2]
    q_embed = torch.stack([q1 * cos - q2 * sin, q2 * cos + q1 * sin], dim=-1).flatten(-2)
    k_embed = torch.stack([k1 * cos - k2 * sin, k2 * cos + k1 * sin], dim=-1).flatten(-2)
    return q_embed, k_embed


def not_of_halves(q, k, cos, sin, unsqueeze_dim):
    """Halves, not neighbours, are turned: the op would pair other channels."""
    cos = cos[..., : cos.shape[-1] // 2].unsqueeze(unsqueeze_dim)
    sin = sin[..., : sin.shape[-1] // 2].unsqueeze(unsqueeze_dim)
    q1, q2 = q.chunk(2, dim=-1)
    k1, k2 = k.chunk(2, dim=-1)
    q_embed = torch.cat([q1 * cos - q2 * sin, q2 * cos + q1 * sin], dim=-1)
    k_embed = torch.cat([k1 * cos - k2 * sin, k2 * cos + k1 * sin], dim=-1)
    return q_embed, k_embed


def not_by_the_negative_angle(q, k, cos, sin, unsqueeze_dim):
    """The rotation by the negative angle."""
    cos = cos[..., : cos.shape[-1] // 2].unsqueeze(unsqueeze_dim)
    sin = sin[..., : sin.shape[-1] // 2].unsqueeze(unsqueeze_dim)
    q1, q2 = q[..., 0::2], q[..., 1::2]
    k1, k2 = k[..., 0::2], k[..., 1::2]
    q_embed = torch.cat([q1 * cos + q2 * sin, q2 * cos - q1 * sin], dim=-1)
    k_embed = torch.cat([k1 * cos + k2 * sin, k2 * cos - k1 * sin], dim=-1)
    return q_embed, k_embed


def proof(draw):
    """Both ops: widths with and without one of their own, heads before and behind positions, tables of one row."""
    width, rows, unsqueeze_dim = draw.choice((64, 32)), draw.choice((2, 1)), draw.choice((1, 2))
    q, k = (draw.normal(*((2, heads, 7) if unsqueeze_dim == 1 else (2, 7, heads)), width) for heads in (4, 1))
    angle = draw.uniform(rows, 7, width)  # the second half of each table is not read
    cos, sin = angle.cos(), angle.sin()
    if draw.choice((True, False)) and draw.dtype is not torch.float64:
        cos, sin = cos.float(), sin.float()
    return dict(q=q, k=k, cos=cos, sin=sin, unsqueeze_dim=unsqueeze_dim)

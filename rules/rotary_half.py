"""Rotary position embedding over halves -> npu_rotary_mul

Why:      five kernels a tensor become one. `npu_apply_rotary_pos_emb` takes q and k at once, but writes them in place
          in eager mode, takes head_dim 64 and 128 only, and costs two copies in a graph.
          Of heads that turn in part, the rest is cut off by one kernel and joined again; where none is, by none.
Numerics: fp32 inside, one rounding: at least as close to fp32 as the source. Where the source rotates in fp32 the op
          gets fp32, for it would round cos and sin to the dtype of q and k.
Contract: torch_npu.npu_rotary_mul, mode half: q and k 4-D with an even head_dim below 896; cos and sin of the same
          rank, their heads dimension 1.
"""

import torch

from porter.npu import torch_npu
from porter.rule import Edit, Rule
from rules.shared.rotary import given_rotate_half, not_subtracted

rule = Rule(edits=(Edit(site="function", unit="function", answers=("rotation",)),))


def before(q, k, cos, sin, unsqueeze_dim):
    cos = cos.unsqueeze(unsqueeze_dim)
    sin = sin.unsqueeze(unsqueeze_dim)
    q_embed = (q * cos) + (rotate_half(q) * sin)
    k_embed = (k * cos) + (rotate_half(k) * sin)
    return q_embed, k_embed


def after(q, k, cos, sin, unsqueeze_dim):
    cos = cos.unsqueeze(unsqueeze_dim)
    sin = sin.unsqueeze(unsqueeze_dim)
    return torch_npu.npu_rotary_mul(q, cos, sin), torch_npu.npu_rotary_mul(k, cos, sin)


def before__one(x, cos, sin, unsqueeze_dim):
    cos = cos.unsqueeze(unsqueeze_dim)
    sin = sin.unsqueeze(unsqueeze_dim)
    return (x * cos) + (rotate_half(x) * sin)


def after__one(x, cos, sin, unsqueeze_dim):
    return torch_npu.npu_rotary_mul(x, cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim))


def before__partial(q, k, cos, sin, unsqueeze_dim):
    cos = cos.unsqueeze(unsqueeze_dim)
    sin = sin.unsqueeze(unsqueeze_dim)
    rotary_dim = cos.shape[-1]
    q_rot, q_pass = q[..., :rotary_dim], q[..., rotary_dim:]
    k_rot, k_pass = k[..., :rotary_dim], k[..., rotary_dim:]
    q_embed = (q_rot * cos) + (rotate_half(q_rot) * sin)
    k_embed = (k_rot * cos) + (rotate_half(k_rot) * sin)
    return torch.cat([q_embed, q_pass], dim=-1), torch.cat([k_embed, k_pass], dim=-1)


def after__partial(q, k, cos, sin, unsqueeze_dim):
    cos = cos.unsqueeze(unsqueeze_dim)
    sin = sin.unsqueeze(unsqueeze_dim)
    sizes = [cos.shape[-1], q.shape[-1] - cos.shape[-1]]
    if sizes[1] == 0:
        return torch_npu.npu_rotary_mul(q, cos, sin), torch_npu.npu_rotary_mul(k, cos, sin)
    q_rot, q_pass = torch.split(q, sizes, dim=-1)
    k_rot, k_pass = torch.split(k, sizes, dim=-1)
    q_embed = torch_npu.npu_rotary_mul(q_rot, cos, sin)
    k_embed = torch_npu.npu_rotary_mul(k_rot, cos, sin)
    return torch.cat([q_embed, q_pass], dim=-1), torch.cat([k_embed, k_pass], dim=-1)


def before__cast_back(q, k, cos, sin, unsqueeze_dim):
    cos = cos.unsqueeze(unsqueeze_dim)
    sin = sin.unsqueeze(unsqueeze_dim)
    q_embed = (q * cos) + (rotate_half(q) * sin)
    k_embed = (k * cos) + (rotate_half(k) * sin)
    return q_embed.to(q.dtype), k_embed.to(k.dtype)


def before__wide(q, k, cos, sin, unsqueeze_dim):
    cos = cos.unsqueeze(unsqueeze_dim)
    sin = sin.unsqueeze(unsqueeze_dim)
    q_embed = (q.float() * cos) + (rotate_half(q.float()) * sin)
    k_embed = (k.float() * cos) + (rotate_half(k.float()) * sin)
    return q_embed.to(q.dtype), k_embed.to(k.dtype)


def after__wide(q, k, cos, sin, unsqueeze_dim):
    cos = cos.unsqueeze(unsqueeze_dim).float()
    sin = sin.unsqueeze(unsqueeze_dim).float()
    q_embed = torch_npu.npu_rotary_mul(q.float(), cos, sin)
    k_embed = torch_npu.npu_rotary_mul(k.float(), cos, sin)
    return q_embed.to(q.dtype), k_embed.to(k.dtype)


def after__cast_back(q, k, cos, sin, unsqueeze_dim):
    cos = cos.unsqueeze(unsqueeze_dim).float()
    sin = sin.unsqueeze(unsqueeze_dim).float()
    q_embed = torch_npu.npu_rotary_mul(q.float(), cos, sin)
    k_embed = torch_npu.npu_rotary_mul(k.float(), cos, sin)
    return q_embed.to(q.dtype), k_embed.to(k.dtype)


def not_one_by_the_negative_angle(x, cos, sin, unsqueeze_dim):
    """The rotation by the negative angle."""
    cos = cos.unsqueeze(unsqueeze_dim)
    sin = sin.unsqueeze(unsqueeze_dim)
    return (x * cos) - (rotate_half(x) * sin)


def not_one_in_part(x, cos, sin, unsqueeze_dim):
    """What does not turn is joined again: the op turns all it is given."""
    cos = cos.unsqueeze(unsqueeze_dim)
    sin = sin.unsqueeze(unsqueeze_dim)
    turned, kept = x[..., : cos.shape[-1]], x[..., cos.shape[-1] :]
    return torch.cat([(turned * cos) + (rotate_half(turned) * sin), kept], dim=-1)


def not_partial_at_the_end(q, k, cos, sin, unsqueeze_dim):
    """The last channels turn, and the first ones stay."""
    cos = cos.unsqueeze(unsqueeze_dim)
    sin = sin.unsqueeze(unsqueeze_dim)
    rotary_dim = cos.shape[-1]
    q_pass, q_rot = q[..., :-rotary_dim], q[..., -rotary_dim:]
    k_pass, k_rot = k[..., :-rotary_dim], k[..., -rotary_dim:]
    q_embed = (q_rot * cos) + (rotate_half(q_rot) * sin)
    k_embed = (k_rot * cos) + (rotate_half(k_rot) * sin)
    return torch.cat([q_pass, q_embed], dim=-1), torch.cat([k_pass, k_embed], dim=-1)


def proof(draw):
    angle = draw.uniform(2, 7, 32)
    cos, sin = torch.cat((angle.cos(), angle.cos()), -1), torch.cat((angle.sin(), angle.sin()), -1)
    return dict(q=draw.normal(2, 7, 4, 64), k=draw.normal(2, 7, 2, 64), cos=cos, sin=sin, unsqueeze_dim=2)


def proof__one(draw):
    """Heads before and behind positions."""
    both, unsqueeze_dim = proof(draw), draw.choice((1, 2))
    x = both["q"] if unsqueeze_dim == 2 else both["q"].transpose(1, 2).contiguous()
    return dict(x=x, cos=both["cos"], sin=both["sin"], unsqueeze_dim=unsqueeze_dim)


def proof__partial(draw):
    whole, width = proof(draw), draw.choice((64, 96))
    return {**whole, "q": draw.normal(2, 7, 4, width), "k": draw.normal(2, 7, 2, width)}

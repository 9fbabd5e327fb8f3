"""Rotary position embedding over neighbours -> npu_rotary_mul with a matrix

Why:      five kernels a tensor become one. `rotary_mode="interleave"` is not used: TorchAir drops it for A2 and A3, and
          a graph would rotate halves. With `rotate=` the rotation is a product with a constant matrix, in a graph too.
          Of heads that turn in part, the rest passes through the same kernel: cos 1, sin 0 and no entry in the matrix.
Numerics: the product with the matrix is exact; fp32 inside, one rounding: at least as close to fp32 as the source.
          Where the source rotates in fp32 the op gets the wider dtype of states and tables: it computes the same.
Contract: torch_npu.npu_rotary_mul with rotate: A2 and A3 only; q and k 4-D with an even head_dim below 896, the matrix
          in their dtype; mode half, for with "interleave" cos and sin must be the same in every batch row.
"""

import torch

from porter.npu import torch_npu
from porter.rule import Edit, Rule
from porter.runtime import neighbour_rotation, neighbour_table
from rules.shared.rotary import given_rotate_every_two, given_rotate_half__interleaved, not_subtracted

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
    rotate = neighbour_rotation(q)
    return torch_npu.npu_rotary_mul(q, cos, sin, "half", rotate), torch_npu.npu_rotary_mul(k, cos, sin, "half", rotate)


def before__repeated(q, k, cos, sin, unsqueeze_dim):
    cos = cos.unsqueeze(unsqueeze_dim)
    sin = sin.unsqueeze(unsqueeze_dim)
    cos = cos[..., : cos.shape[-1] // 2].repeat_interleave(2, dim=-1)
    sin = sin[..., : sin.shape[-1] // 2].repeat_interleave(2, dim=-1)
    q_embed = (q * cos) + (rotate_half(q) * sin)
    k_embed = (k * cos) + (rotate_half(k) * sin)
    return q_embed, k_embed


def after__repeated(q, k, cos, sin, unsqueeze_dim):
    cos = neighbour_table(cos).unsqueeze(unsqueeze_dim)
    sin = neighbour_table(sin).unsqueeze(unsqueeze_dim)
    rotate = neighbour_rotation(q)
    return torch_npu.npu_rotary_mul(q, cos, sin, "half", rotate), torch_npu.npu_rotary_mul(k, cos, sin, "half", rotate)


def before__wide(q, k, cos, sin, unsqueeze_dim):
    cos = cos.unsqueeze(unsqueeze_dim)
    sin = sin.unsqueeze(unsqueeze_dim)
    q_embed = (q.float() * cos) + (rotate_half(q.float()) * sin)
    k_embed = (k.float() * cos) + (rotate_half(k.float()) * sin)
    return q_embed.to(q.dtype), k_embed.to(q.dtype)


def after__wide(q, k, cos, sin, unsqueeze_dim):
    dtype = torch.promote_types(q.dtype, cos.dtype)
    cos = cos.unsqueeze(unsqueeze_dim).to(dtype)
    sin = sin.unsqueeze(unsqueeze_dim).to(dtype)
    q_rot, k_rot = q.to(dtype), k.to(dtype)
    rotate = neighbour_rotation(q_rot)
    q_embed = torch_npu.npu_rotary_mul(q_rot, cos, sin, "half", rotate)
    k_embed = torch_npu.npu_rotary_mul(k_rot, cos, sin, "half", rotate)
    return q_embed.to(q.dtype), k_embed.to(q.dtype)


def before__repeated_wide(q, k, cos, sin, unsqueeze_dim):
    cos = cos.unsqueeze(unsqueeze_dim)
    sin = sin.unsqueeze(unsqueeze_dim)
    cos = cos[..., : cos.shape[-1] // 2].repeat_interleave(2, dim=-1)
    sin = sin[..., : sin.shape[-1] // 2].repeat_interleave(2, dim=-1)
    q_embed = (q.float() * cos) + (rotate_half(q).float() * sin)
    k_embed = (k.float() * cos) + (rotate_half(k).float() * sin)
    return q_embed.to(q.dtype), k_embed.to(q.dtype)


def after__repeated_wide(q, k, cos, sin, unsqueeze_dim):
    dtype = torch.promote_types(q.dtype, cos.dtype)
    cos = neighbour_table(cos).unsqueeze(unsqueeze_dim).to(dtype)
    sin = neighbour_table(sin).unsqueeze(unsqueeze_dim).to(dtype)
    q_rot, k_rot = q.to(dtype), k.to(dtype)
    rotate = neighbour_rotation(q_rot)
    q_embed = torch_npu.npu_rotary_mul(q_rot, cos, sin, "half", rotate)
    k_embed = torch_npu.npu_rotary_mul(k_rot, cos, sin, "half", rotate)
    return q_embed.to(q.dtype), k_embed.to(q.dtype)


def before__partial_repeated(q, k, cos, sin, unsqueeze_dim):
    cos = cos.unsqueeze(unsqueeze_dim)
    sin = sin.unsqueeze(unsqueeze_dim)
    cos = cos[..., : cos.shape[-1] // 2].repeat_interleave(2, dim=-1)
    sin = sin[..., : sin.shape[-1] // 2].repeat_interleave(2, dim=-1)
    rotary_dim = cos.shape[-1]
    q_rot, q_pass = q[..., :rotary_dim], q[..., rotary_dim:]
    k_rot, k_pass = k[..., :rotary_dim], k[..., rotary_dim:]
    q_embed = (q_rot * cos) + (rotate_half(q_rot) * sin)
    k_embed = (k_rot * cos) + (rotate_half(k_rot) * sin)
    return torch.cat([q_embed, q_pass], dim=-1), torch.cat([k_embed, k_pass], dim=-1)


def after__partial_repeated(q, k, cos, sin, unsqueeze_dim):
    cos = neighbour_table(cos).unsqueeze(unsqueeze_dim)
    sin = neighbour_table(sin).unsqueeze(unsqueeze_dim)
    rotary_dim = cos.shape[-1]
    cos = torch.nn.functional.pad(cos, (0, q.shape[-1] - rotary_dim), value=1.0)
    sin = torch.nn.functional.pad(sin, (0, q.shape[-1] - rotary_dim))
    rotate = neighbour_rotation(q, rotary_dim)
    return torch_npu.npu_rotary_mul(q, cos, sin, "half", rotate), torch_npu.npu_rotary_mul(k, cos, sin, "half", rotate)


def before__one(x, sin, cos):
    sin = torch.repeat_interleave(sin[:, :, None, :], 2, 3)
    cos = torch.repeat_interleave(cos[:, :, None, :], 2, 3)
    return (x * cos) + (rotate_every_two(x) * sin)


def after__one(x, sin, cos):
    dtype = torch.promote_types(x.dtype, cos.dtype)
    sin = torch.repeat_interleave(sin[:, :, None, :], 2, 3).to(dtype)
    cos = torch.repeat_interleave(cos[:, :, None, :], 2, 3).to(dtype)
    x = x.to(dtype)
    return torch_npu.npu_rotary_mul(x, cos, sin, "half", neighbour_rotation(x))


def not_de_interleaved(q, k, cos, sin, unsqueeze_dim):
    """Neighbours are brought apart and stay so: what comes out is in another order."""
    cos = cos.unsqueeze(unsqueeze_dim)
    sin = sin.unsqueeze(unsqueeze_dim)
    b, h, s, d = q.shape
    q = q.view(b, h, s, d // 2, 2).transpose(4, 3).reshape(b, h, s, d)
    b, h, s, d = k.shape
    k = k.view(b, h, s, d // 2, 2).transpose(4, 3).reshape(b, h, s, d)
    q_embed = (q * cos) + (rotate_half(q) * sin)
    k_embed = (k * cos) + (rotate_half(k) * sin)
    return q_embed, k_embed


def _angles(draw, width):
    angle = draw.uniform(2, 7, width)
    return angle.cos(), angle.sin()


def proof(draw):
    cos, sin = (table.repeat_interleave(2, -1) for table in _angles(draw, 32))
    return dict(q=draw.normal(2, 7, 4, 64), k=draw.normal(2, 7, 2, 64), cos=cos, sin=sin, unsqueeze_dim=2)


def proof__repeated(draw):
    cos, sin = (torch.cat((table, table), -1) for table in _angles(draw, 32))
    return dict(q=draw.normal(2, 7, 4, 64), k=draw.normal(2, 7, 2, 64), cos=cos, sin=sin, unsqueeze_dim=2)


def _some_in_fp32(draw, arguments):
    """The tables in fp32 or in the dtype of the states: both are found."""
    wide = draw.choice((True, False)) and draw.dtype is not torch.float64
    return {**arguments, **{name: arguments[name].float() for name in ("cos", "sin") if wide}}


def proof__wide(draw):
    return _some_in_fp32(draw, proof(draw))


def proof__repeated_wide(draw):
    return _some_in_fp32(draw, proof__repeated(draw))


def proof__partial_repeated(draw):
    return {**proof__repeated(draw), "q": draw.normal(2, 7, 4, 96), "k": draw.normal(2, 7, 2, 96)}


def proof__one(draw):
    cos, sin = _angles(draw, 32)
    return _some_in_fp32(draw, dict(x=draw.normal(2, 7, 4, 64), sin=sin, cos=cos))

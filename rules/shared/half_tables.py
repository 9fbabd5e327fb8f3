"""How modeling files spell the rotation of q and k by chunks, with cos and sin of half a head.

As in `rules/shared/rotary.py`, it looks at the last dimension only: the heads may stand anywhere.
"""

import torch


def given_apply_rotary_pos_emb__chunks(q, k, cos, sin, *, unsqueeze_dim=1):
    cos = cos.unsqueeze(unsqueeze_dim)
    sin = sin.unsqueeze(unsqueeze_dim)
    q_embed = _apply_rotary_emb(q, cos, sin)
    k_embed = _apply_rotary_emb(k, cos, sin)
    return q_embed, k_embed


def given__apply_rotary_emb(x, cos, sin):
    first_half, second_half = torch.chunk(x, 2, dim=-1)
    first_ = first_half * cos - second_half * sin
    second_ = second_half * cos + first_half * sin
    return torch.cat((first_, second_), dim=-1)

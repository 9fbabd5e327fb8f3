"""Latents (MLA) expanded to keys and values: heads behind the positions, and no copy into a tensor made before."""

import torch


def before_expand(self, latent, rope):
    batch, _, length, _ = latent.shape
    shape = (batch, length, -1, self.qk_nope_head_dim + self.v_head_dim)
    latent = self.kv_b_proj(latent).view(shape).transpose(1, 2)
    nope, value = torch.split(latent, [self.qk_nope_head_dim, self.v_head_dim], dim=-1)
    rope = rope.expand(-1, nope.shape[1], -1, -1)
    key = latent.new_empty(*latent.shape[:-1], self.qk_nope_head_dim + self.qk_rope_head_dim)
    key[..., : self.qk_nope_head_dim].copy_(nope)
    key[..., self.qk_nope_head_dim :].copy_(rope)
    return key, value


def after_expand(self, latent, rope):
    latent = self.kv_b_proj(latent)  # (B, S, 1, N * (key without rope + value))
    latent = latent.view(*latent.shape[:2], -1, self.qk_nope_head_dim + self.v_head_dim)
    nope, value = torch.split(latent, [self.qk_nope_head_dim, self.v_head_dim], dim=-1)
    key = torch.cat((nope, rope.expand(-1, -1, nope.shape[2], -1)), dim=-1)
    return key, value

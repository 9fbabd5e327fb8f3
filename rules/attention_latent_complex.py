"""Multi-head latent attention turned by complex numbers -> npu_fused_infer_attention_score; of one token, absorbed

Why:      as `attention_latent`. No op and no graph has complex numbers: the tables are cos and sin, and neighbours turn
          by npu_rotary_mul with a matrix, as in `rotary_neighbours`.
Numerics: as `attention_latent`; heads turn in fp32 and are rounded once, as in the source.
Contract: as `attention_latent` and `rotary_neighbours`. The rotary module gives a pair, (B or 1, S, D) in fp32.
"""

import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.deepseek_v2.modeling_deepseek_v2 import eager_attention_forward

from porter.npu import torch_npu
from porter.rule import OTHER_ATTENTION_OR_ENCODER, PLAIN_ATTENTION, Argument, Edit, Rule
from porter.runtime import (
    absorbed_attention,
    absorbs,
    actual_seq_lengths,
    at_one_width,
    kernel_mask,
    neighbour_rotation,
)
from porter.verify.decoding import prefill_and_decode
from rules.shared.eager_attention import given_eager_attention_forward, given_repeat_kv
from rules.shared.latents import after_expand, before_expand
from rules.shared.static_cache import (
    after_cache,
    after_mask,
    after_mask__window,
    before_cache,
    before_mask,
    before_mask__window,
)

rule = Rule(
    edits=(
        Edit(
            "kernel",
            site="attention.forward",
            unit="statements",
            answers=("kernel",),
            private=("query", "q_pass", "q_rot", "joined", "latent", "rope", "key", "value"),
        ),
        Edit("expand", site="attention.expand_kv", unit="function"),
        Edit("cache", site="model.forward", unit="statements", answers=("kernel",)),
        Edit("mask", site="*", unit="expression", carried=("mask",)),
        Edit("table", site="rotary.forward", unit="function", answers=("rotary_scaling",)),
        Edit("turn", site="function", unit="function", answers=("rotation",)),
    ),
    guards=PLAIN_ATTENTION,
    absent=OTHER_ATTENTION_OR_ENCODER,
    splits={  # as `attention_latent`
        "q_a_proj": ("whole", 0),
        "q_a_layernorm": ("whole", 0),
        "kv_a_proj_with_mqa": ("whole", 0),
        "kv_a_layernorm": ("whole", 0),
        "q_proj": ("pieces", 0),
        "q_b_proj": ("pieces", 0),
        "kv_b_proj": ("pieces", 0),
    },
)


def before_kernel(
    self, q, c, r, nope, width, batch, length, rank, angles: Argument, mask: Argument, cache: Argument, scaling,
    dropout=0.0, **kwargs,
):
    query = q.transpose(1, 2)
    q_pass, q_rot = torch.split(query, [nope, width], dim=-1)
    ...
    latent = c.view(batch, 1, length, rank)
    rope = r.view(batch, 1, length, width)
    q_rot, rope = apply_rotary_emb(q_rot, rope, angles.to(q_rot.device))
    if cache is not None:
        latent, rope = cache.update(latent, rope, self.layer_idx)
    joined = torch.cat((q_pass, q_rot), dim=-1)
    key, value = self.expand_kv(latent, rope)
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
    output, weights = interface(self, joined, key, value, mask, dropout=dropout, scaling=scaling, **kwargs)


def after_kernel(
    self, q, c, r, nope, width, batch, length, rank, angles, mask, cache, scaling, **kwargs
):
    query = q
    q_pass, q_rot = torch.split(query, [nope, width], dim=-1)
    ...
    latent = c.view(batch, length, 1, rank)
    rope = r.view(batch, length, 1, width)
    q_rot, rope = apply_rotary_emb(q_rot, rope, angles, unsqueeze_dim=2)
    if cache is not None:
        latent, rope = cache.update(latent, rope, self.layer_idx)
    joined = torch.cat((q_pass, q_rot), dim=-1)
    if absorbs(joined, self.kv_b_proj):  # one token: the latents are read as they are
        output = absorbed_attention(
            joined,
            latent,
            rope,
            self.kv_b_proj.weight,
            atten_mask=kernel_mask(mask, joined, cache, self.layer_idx),
            actual_seq_lengths_kv=actual_seq_lengths(cache, self.layer_idx, **kwargs),
            scale=scaling,
        )
    else:
        key, value = self.expand_kv(latent, rope)
        joined, key, filled = at_one_width(joined, key, value)
        output, _ = torch_npu.npu_fused_infer_attention_score(
            joined,
            key,
            filled,
            atten_mask=kernel_mask(mask, joined, cache, self.layer_idx),
            actual_seq_lengths_kv=actual_seq_lengths(cache, self.layer_idx, **kwargs),
            num_heads=joined.shape[2],
            num_key_value_heads=key.shape[2],
            scale=scaling,
            input_layout="BSND",
        )
        output = output[..., : value.shape[-1]]
    weights = None


def before_table(self, x, positions):
    angles = positions[..., None].float() * self.inv_freq.to(device=x.device, dtype=torch.float)
    turns = torch.polar(torch.ones_like(angles), angles)
    turns = turns * self.attention_scaling
    return turns


def after_table(self, x, positions):
    angles = positions[..., None].float() * self.inv_freq.to(device=x.device, dtype=torch.float)
    angles = torch.stack((angles, angles), dim=-1).flatten(-2)  # neighbours turn by one angle
    cos, sin = angles.cos(), angles.sin()
    if self.attention_scaling != 1.0:  # yarn and its kin
        cos, sin = cos * self.attention_scaling, sin * self.attention_scaling
    return cos, sin


def given_apply_rotary_emb(q, k, angles):
    q_pairs = torch.view_as_complex(q.float().reshape(*q.shape[:-1], -1, 2))
    k_pairs = torch.view_as_complex(k.float().reshape(*k.shape[:-1], -1, 2))
    angles = angles.unsqueeze(1).to(q_pairs.device)
    q_turned = torch.view_as_real(q_pairs * angles).flatten(3).type_as(q)
    k_turned = torch.view_as_real(k_pairs * angles).flatten(3).type_as(k)
    return q_turned, k_turned


def before_turn(q, k, angles):
    q_pairs = torch.view_as_complex(q.float().reshape(*q.shape[:-1], -1, 2))
    k_pairs = torch.view_as_complex(k.float().reshape(*k.shape[:-1], -1, 2))
    angles = angles.unsqueeze(1).to(q_pairs.device)
    q_turned = torch.view_as_real(q_pairs * angles).flatten(3).type_as(q)
    k_turned = torch.view_as_real(k_pairs * angles).flatten(3).type_as(k)
    return q_turned, k_turned


def after_turn(q, k, angles, unsqueeze_dim=1):
    cos, sin = (table.to(q.device).unsqueeze(unsqueeze_dim) for table in angles)
    q_wide, k_wide = q.to(cos.dtype), k.to(cos.dtype)
    rotate = neighbour_rotation(q_wide)
    q_turned = torch_npu.npu_rotary_mul(q_wide, cos, sin, "half", rotate)
    k_turned = torch_npu.npu_rotary_mul(k_wide, cos, sin, "half", rotate)
    return q_turned.to(q.dtype), k_turned.to(k.dtype)


def not_turn_of_halves(q, k, angles):
    """The first half beside the second is another pair."""
    q_pairs = torch.view_as_complex(q.float().reshape(*q.shape[:-1], 2, -1).transpose(-1, -2).contiguous())
    k_pairs = torch.view_as_complex(k.float().reshape(*k.shape[:-1], 2, -1).transpose(-1, -2).contiguous())
    angles = angles.unsqueeze(1).to(q_pairs.device)
    q_turned = torch.view_as_real(q_pairs * angles).flatten(3).type_as(q)
    k_turned = torch.view_as_real(k_pairs * angles).flatten(3).type_as(k)
    return q_turned, k_turned


def not_table_of_the_other_way(self, x, positions):
    """Turns by the negative angle."""
    angles = positions[..., None].float() * self.inv_freq.to(device=x.device, dtype=torch.float)
    turns = torch.polar(torch.ones_like(angles), -angles)
    turns = turns * self.attention_scaling
    return turns


def not_kernel_that_expands_before_the_cache(
    self, q, c, r, nope, width, batch, length, rank, angles, mask, cache, scaling, **kwargs
):
    """Expanded keys and values are what such a cache holds: that of latents is another."""
    query = q.transpose(1, 2)
    q_pass, q_rot = torch.split(query, [nope, width], dim=-1)
    latent = c.view(batch, 1, length, rank)
    rope = r.view(batch, 1, length, width)
    q_rot, rope = apply_rotary_emb(q_rot, rope, angles.to(q_rot.device))
    joined = torch.cat((q_pass, q_rot), dim=-1)
    key, value = self.expand_kv(latent, rope)
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
    output, weights = interface(self, joined, key, value, mask, dropout=0.0, scaling=scaling, **kwargs)


def apply_rotary_emb(q, k, angles, **layout):
    """In a proof: what both sides call by this name, by what they give it."""
    return after_turn(q, k, angles, **layout) if isinstance(angles, tuple) else before_turn(q, k, angles)


def _runs(draw, kernel, expand, cache_edit, mask_edit, window_edit, turned):
    """As `attention_latent`: queries of 8 channels and 8 that turn, latents of 16 beside a shared rope part of 8; turns
    by quarters. `turned`: cos and sin, (B, S, 4), as the side has them."""
    width, runs = 16, []
    for window, edit in ((None, mask_edit), (4, window_edit)):
        kv_b_proj = draw.linear(16, 4 * (8 + width))
        first = draw.integers(0, 16, 4, 1)
        channels = torch.cat((first + torch.arange(8), first + torch.arange(width)), -1).flatten() % 16
        kv_b_proj.weight.copy_(torch.nn.functional.one_hot(channels, 16))

        def step(self, q, k, v, cos, sin, mask, cache):
            self.expand_kv = lambda latent, rope: expand(self, latent, rope)
            latent, rope = k[:, :, 0], v[:, :, 0, :8].contiguous()
            angles = turned(cos[..., :4].float(), sin[..., :4].float())
            return kernel(self, q, latent, rope, 8, 8, *q.shape[:2], 16, angles, mask, cache, 0.25)["output"]

        options = dict(key_heads=4, turned=8)
        sizes = dict(qk_nope_head_dim=8, qk_rope_head_dim=8, v_head_dim=width, kv_b_proj=kv_b_proj)
        runs.append(prefill_and_decode(draw, step, cache_edit, edit, window=window, **options, **sizes))
    return runs


def _rotary(draw):
    """A rotary module, positions to turn by, and what turns."""
    rotary = draw.module(inv_freq=draw.uniform(4), attention_scaling=draw.choice((1.0, 1.25)))
    return rotary, draw.integers(0, 4, 2, 7), draw.normal(2, 4, 7, 8), draw.normal(2, 1, 7, 8)


def proof_before(draw):
    runs = _runs(draw, before_kernel, before_expand, before_cache, before_mask, before_mask__window, torch.complex)
    rotary, positions, q, k = _rotary(draw)
    turns = before_table(rotary, q, positions)
    return runs, torch.view_as_real(turns), before_turn(q, k, turns)


def proof_after(draw):
    def pair(cos, sin):
        return cos.repeat_interleave(2, -1), sin.repeat_interleave(2, -1)

    runs = _runs(draw, after_kernel, after_expand, after_cache, after_mask, after_mask__window, pair)
    rotary, positions, q, k = _rotary(draw)
    tables = after_table(rotary, q, positions)
    return runs, torch.stack(tables, -1)[..., ::2, :], after_turn(q, k, tables)

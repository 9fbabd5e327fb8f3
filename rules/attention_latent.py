"""Multi-head latent attention -> npu_fused_infer_attention_score in BSND; of one token, absorbed

Why:      one kernel for scores, mask, softmax and values; no transposes; a cache that never moves, and that holds what
          the source's holds: the latent and the rope part that all heads share, before they are expanded. Of one token
          the projection from latents goes to the query and to what comes out: the cache is read as it is, where
          every slot expanded is 71 times as large at the widths of DeepSeek-V3 (128 * 320 numbers for 576).
Numerics: scores and softmax in fp32, as in the source. Zeros beside the narrower of keys and values change nothing.
          Absorbed, the query is rounded where the source rounds the keys, and what is attended where it rounds values.
Contract: torch_npu.npu_fused_infer_attention_score, as `attention` uses it: masks are True where nothing is computed,
          and change with the kernel; query, key and value have one width. Its absorbed form (D 512 beside a rope part
          of 64) takes no mask: it decodes eager rows that see all that was written. In graphs, where lengths are not
          known, and behind padding on the left, products and a softmax do what it would.
"""

import math

import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.deepseek_v3.modeling_deepseek_v3 import (
    apply_rotary_pos_emb,
    apply_rotary_pos_emb_interleave,
    eager_attention_forward,
)

from porter.npu import torch_npu
from porter.rule import OTHER_ATTENTION_OR_ENCODER, PLAIN_ATTENTION, Argument, Edit, Rule, maybe
from porter.runtime import absorbed_attention, absorbs, actual_seq_lengths, at_one_width, kernel_mask
from porter.verify.decoding import prefill_and_decode
from rules.shared.eager_attention import given_eager_attention_forward, given_repeat_kv
from rules.shared.latents import after_expand, before_expand

# Each looks at the last dimension only: the heads may stand anywhere.
from rules.shared.rotary import (
    given_apply_rotary_pos_emb,
    given_apply_rotary_pos_emb_interleave,
    given_get_llama_4_attn_scale,
    given_rotate_half,
)
from rules.shared.static_cache import (
    after_cache,
    after_mask,
    after_mask__window,
    before_cache,
    before_cache__unless_traced,
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
        Edit("cache", site="model.forward", unit="statements"),
        Edit("mask", site="*", unit="expression", carried=("mask",)),
    ),
    guards=PLAIN_ATTENTION,
    absent=OTHER_ATTENTION_OR_ENCODER,
    splits={  # what makes the latents and the rope part is on every rank, and so is the cache; heads are shared out
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
    self, q, c, r, nope, width, batch, length, rank, cos, sin, mask: Argument, cache: Argument, scaling,
    neighbours=True, positions=None, beta=0.1, original=4, dropout=0.0, **kwargs,
):
    query = q.transpose(1, 2)
    q_pass, q_rot = torch.split(query, [nope, width], dim=-1)
    ...
    latent = c.view(batch, 1, length, rank)
    rope = r.view(batch, 1, length, width)
    ...
    with maybe:
        if neighbours:
            q_rot, rope = apply_rotary_pos_emb_interleave(q_rot, rope, cos, sin)
        else:
            q_rot, rope = apply_rotary_pos_emb(q_rot, rope, cos, sin)
    with maybe:
        q_rot, rope = apply_rotary_pos_emb(q_rot, rope, cos, sin)
    if cache is not None:
        latent, rope = cache.update(latent, rope, self.layer_idx)
    joined = torch.cat((q_pass, q_rot), dim=-1)
    with maybe:
        joined = joined * get_llama_4_attn_scale(positions, beta, original).to(joined.dtype)
    key, value = self.expand_kv(latent, rope)
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
    output, weights = interface(
        self, joined, key, value, mask, dropout=dropout, scaling=scaling, position_ids=maybe, **kwargs
    )


def after_kernel(
    self, q, c, r, nope, width, batch, length, rank, cos, sin, mask, cache, scaling,
    neighbours=True, positions=None, beta=0.1, original=4, **kwargs,
):
    query = q
    q_pass, q_rot = torch.split(query, [nope, width], dim=-1)
    ...
    latent = c.view(batch, length, 1, rank)
    rope = r.view(batch, length, 1, width)
    ...
    with maybe:
        if neighbours:
            q_rot, rope = apply_rotary_pos_emb_interleave(q_rot, rope, cos, sin, unsqueeze_dim=2)
        else:
            q_rot, rope = apply_rotary_pos_emb(q_rot, rope, cos, sin, unsqueeze_dim=2)
    with maybe:
        q_rot, rope = apply_rotary_pos_emb(q_rot, rope, cos, sin, unsqueeze_dim=2)
    if cache is not None:
        latent, rope = cache.update(latent, rope, self.layer_idx)
    joined = torch.cat((q_pass, q_rot), dim=-1)
    with maybe:
        joined = joined * get_llama_4_attn_scale(
            positions,
            beta,
            original,
        ).transpose(1, 2).to(joined.dtype)
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


def not_kernel_that_expands_before_the_cache(
    self, q, c, r, nope, width, batch, length, rank, cos, sin, mask, cache, scaling, **kwargs
):
    """Expanded keys and values are what such a cache holds: that of latents is another."""
    query = q.transpose(1, 2)
    q_pass, q_rot = torch.split(query, [nope, width], dim=-1)
    latent = c.view(batch, 1, length, rank)
    rope = r.view(batch, 1, length, width)
    q_rot, rope = apply_rotary_pos_emb(q_rot, rope, cos, sin)
    joined = torch.cat((q_pass, q_rot), dim=-1)
    key, value = self.expand_kv(latent, rope)
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
    output, weights = interface(self, joined, key, value, mask, dropout=0.0, scaling=scaling, **kwargs)


def not_kernel_with_rope_first(
    self, q, c, r, nope, width, batch, length, rank, cos, sin, mask, cache, scaling, **kwargs
):
    """Queries joined in another order than the keys are other queries."""
    query = q.transpose(1, 2)
    q_pass, q_rot = torch.split(query, [nope, width], dim=-1)
    latent = c.view(batch, 1, length, rank)
    rope = r.view(batch, 1, length, width)
    q_rot, rope = apply_rotary_pos_emb(q_rot, rope, cos, sin)
    if cache is not None:
        latent, rope = cache.update(latent, rope, self.layer_idx)
    joined = torch.cat((q_rot, q_pass), dim=-1)
    key, value = self.expand_kv(latent, rope)
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
    output, weights = interface(self, joined, key, value, mask, dropout=0.0, scaling=scaling, **kwargs)


def not_expand_with_values_first(self, latent, rope):
    """The rows of the projection stand in another order."""
    batch, _, length, _ = latent.shape
    shape = (batch, length, -1, self.qk_nope_head_dim + self.v_head_dim)
    latent = self.kv_b_proj(latent).view(shape).transpose(1, 2)
    value, nope = torch.split(latent, [self.v_head_dim, self.qk_nope_head_dim], dim=-1)
    rope = rope.expand(-1, nope.shape[1], -1, -1)
    key = latent.new_empty(*latent.shape[:-1], self.qk_nope_head_dim + self.qk_rope_head_dim)
    key[..., : self.qk_nope_head_dim].copy_(nope)
    key[..., self.qk_nope_head_dim :].copy_(rope)
    return key, value


def _runs(draw, kernel, expand, cache_edit, mask_edit, window_edit):
    """Queries of 8 channels and 8 that turn, latents of 16 beside a shared rope part of 8, values of 16: of another
    width than the keys sdpa on a CPU computes them in fp32, which no 16-bit kernel can be held to."""
    value_width, neighbours, runs = 16, draw.choice((True, False)), []
    beta = 1 / math.log(2)  # queries are scaled by 1, and from position 5 on by 2: no dtype rounds that
    for window, edit in ((None, mask_edit), (4, window_edit)):
        seen = [0]  # tokens of the steps before: queries are scaled by their positions
        # One latent channel each, of its own in a head, so that no dtype rounds what is expanded or absorbed: what
        # differs is the kernel's.
        kv_b_proj = draw.linear(16, 4 * (8 + value_width))
        first = draw.integers(0, 16, 4, 1)
        channels = torch.cat((first + torch.arange(8), first + torch.arange(value_width)), -1).flatten() % 16
        kv_b_proj.weight.copy_(torch.nn.functional.one_hot(channels, 16))

        def step(self, q, k, v, cos, sin, mask, cache, seen=seen):
            self.expand_kv = lambda latent, rope: expand(self, latent, rope)
            batch, length = q.shape[:2]
            positions = torch.arange(seen[0], seen[0] + length)[None]
            seen[0] += length
            latent, rope = k[:, :, 0], v[:, :, 0, :8].contiguous()
            sizes = 8, 8, batch, length, 16
            scale = neighbours, positions, beta, 5
            return kernel(self, q, latent, rope, *sizes, cos, sin, mask, cache, 0.25, *scale)["output"]

        options = dict(key_heads=4, turned=8)
        sizes = dict(qk_nope_head_dim=8, qk_rope_head_dim=8, v_head_dim=value_width, kv_b_proj=kv_b_proj)
        runs.append(prefill_and_decode(draw, step, cache_edit, edit, window=window, **options, **sizes))
    return runs


def proof_before(draw):
    return _runs(draw, before_kernel, before_expand, before_cache, before_mask, before_mask__window)


def proof_after(draw):
    return _runs(draw, after_kernel, after_expand, after_cache, after_mask, after_mask__window)

"""Attention through the interface -> npu_fused_infer_attention_score in BSND, over a static KV cache

Why:      one kernel for scores, mask, softmax and values; no transposes, no repeated KV heads; a cache that never
          moves, so that a decode step is one fixed graph.
Numerics: softmax in fp32, as in the source.
Contract: torch_npu.npu_fused_infer_attention_score: masks are True where nothing is computed, the reverse of SDPA,
          so masks and kernel change together; the cache holds (batch, length, heads, head_dim). Windows are in the
          mask. Attention weights never exist, and asking for them is an error.
"""

import torch
from transformers import LlamaConfig
from transformers.cache_utils import DynamicCache
from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb, eager_attention_forward

from porter.npu import torch_npu
from porter.rule import Edit, Rule
from porter.runtime import (
    actual_seq_lengths,
    npu_causal_mask,
    npu_sliding_window_causal_mask,
    prepare_kv_cache,
)

rule = Rule(
    edits=(
        Edit(
            "kernel",
            site="attention.forward",
            unit="statements",
            private=("query", "key", "value", "interface"),
            parameters=("mask", "cache"),
        ),
        Edit("cache", site="model.forward", unit="statements", parameters=("use_cache", "cache")),
        Edit("mask", site="*", unit="expression", opaque=True),
    ),
    scope="module",
    carried=("mask",),
    absent=(
        "create_chunked_causal_mask",
        "create_bidirectional_mask",
        "create_bidirectional_sliding_window_mask",
        "create_masks_for_generate",
        "EncoderDecoderCache",
        "update_conv_state",
        "update_recurrent_state",
        "update_indexer",
    ),
)


# The rotation must not care where the heads are: it may only look at the last dimension. These do.


def given_rotate_half(x):
    x1 = x[..., : x.shape[-1] // 2]
    x2 = x[..., x.shape[-1] // 2 :]
    return torch.cat((-x2, x1), dim=-1)


def given_rotate_half__interleaved(x):
    x1 = x[..., 0::2]
    x2 = x[..., 1::2]
    return torch.stack((-x2, x1), dim=-1).flatten(-2)


def given_rotate_half__interleaved_named(x):
    x1 = x[..., ::2]
    x2 = x[..., 1::2]
    rot_x = torch.stack([-x2, x1], dim=-1).flatten(-2)
    return rot_x


def given_apply_rotary_pos_emb(q, k, cos, sin, unsqueeze_dim):
    cos = cos.unsqueeze(unsqueeze_dim)
    sin = sin.unsqueeze(unsqueeze_dim)
    q_embed = (q * cos) + (rotate_half(q) * sin)
    k_embed = (k * cos) + (rotate_half(k) * sin)
    return q_embed, k_embed


def given_apply_rotary_pos_emb__cast_back(q, k, cos, sin, unsqueeze_dim):
    q_type, k_type = q.dtype, k.dtype
    cos = cos.unsqueeze(unsqueeze_dim)
    sin = sin.unsqueeze(unsqueeze_dim)
    q_embed = (q * cos) + (rotate_half(q) * sin)
    k_embed = (k * cos) + (rotate_half(k) * sin)
    return q_embed.to(q_type), k_embed.to(k_type)


def given_apply_rotary_pos_emb__wide(q, k, cos, sin, unsqueeze_dim):
    dtype = q.dtype
    q = q.float()
    k = k.float()
    cos = cos.unsqueeze(unsqueeze_dim)
    sin = sin.unsqueeze(unsqueeze_dim)
    q_embed = (q * cos) + (rotate_half(q) * sin)
    k_embed = (k * cos) + (rotate_half(k) * sin)
    return q_embed.to(dtype=dtype), k_embed.to(dtype=dtype)


def given_apply_rotary_pos_emb__wide_products(q, k, cos, sin, unsqueeze_dim):
    dtype = q.dtype
    cos = cos.unsqueeze(unsqueeze_dim)
    sin = sin.unsqueeze(unsqueeze_dim)
    q_embed = (q.float() * cos) + (rotate_half(q.float()) * sin)
    k_embed = (k.float() * cos) + (rotate_half(k.float()) * sin)
    return q_embed.to(dtype), k_embed.to(dtype)


def given_apply_rotary_pos_emb__repeated(q, k, cos, sin, unsqueeze_dim):
    cos = cos.unsqueeze(unsqueeze_dim)
    sin = sin.unsqueeze(unsqueeze_dim)
    cos = cos[..., : cos.shape[-1] // 2].repeat_interleave(2, dim=-1)
    sin = sin[..., : sin.shape[-1] // 2].repeat_interleave(2, dim=-1)
    q_embed = (q * cos) + (rotate_half(q) * sin)
    k_embed = (k * cos) + (rotate_half(k) * sin)
    return q_embed, k_embed


def given_apply_rotary_pos_emb__repeated_wide(q, k, cos, sin, unsqueeze_dim):
    dtype = q.dtype
    cos = cos.unsqueeze(unsqueeze_dim)
    sin = sin.unsqueeze(unsqueeze_dim)
    cos = cos[..., : cos.shape[-1] // 2].repeat_interleave(2, dim=-1)
    sin = sin[..., : sin.shape[-1] // 2].repeat_interleave(2, dim=-1)
    q_embed = (q.float() * cos) + (rotate_half(q).float() * sin)
    k_embed = (k.float() * cos) + (rotate_half(k).float() * sin)
    return q_embed.to(dtype), k_embed.to(dtype)


def given_apply_rotary_pos_emb__partial(q, k, cos, sin, unsqueeze_dim):
    cos = cos.unsqueeze(unsqueeze_dim)
    sin = sin.unsqueeze(unsqueeze_dim)
    rotary_dim = cos.shape[-1]
    q_rot, q_pass = q[..., :rotary_dim], q[..., rotary_dim:]
    k_rot, k_pass = k[..., :rotary_dim], k[..., rotary_dim:]
    q_embed = (q_rot * cos) + (rotate_half(q_rot) * sin)
    k_embed = (k_rot * cos) + (rotate_half(k_rot) * sin)
    q_embed = torch.cat([q_embed, q_pass], dim=-1)
    k_embed = torch.cat([k_embed, k_pass], dim=-1)
    return q_embed, k_embed


def given_apply_rotary_pos_emb__partial_repeated(q, k, cos, sin, unsqueeze_dim):
    cos = cos.unsqueeze(unsqueeze_dim)
    sin = sin.unsqueeze(unsqueeze_dim)
    cos = cos[..., : cos.shape[-1] // 2].repeat_interleave(2, dim=-1)
    sin = sin[..., : sin.shape[-1] // 2].repeat_interleave(2, dim=-1)
    rotary_dim = cos.shape[-1]
    q_rot, q_pass = q[..., :rotary_dim], q[..., rotary_dim:]
    k_rot, k_pass = k[..., :rotary_dim], k[..., rotary_dim:]
    q_embed = (q_rot * cos) + (rotate_half(q_rot) * sin)
    k_embed = (k_rot * cos) + (rotate_half(k_rot) * sin)
    q_embed = torch.cat([q_embed, q_pass], dim=-1)
    k_embed = torch.cat([k_embed, k_pass], dim=-1)
    return q_embed, k_embed


def given_apply_rotary_pos_emb__partial_joined(q, k, cos, sin, unsqueeze_dim):
    cos = cos.unsqueeze(unsqueeze_dim)
    sin = sin.unsqueeze(unsqueeze_dim)
    rotary_dim = cos.shape[-1]
    q_rot, q_pass = q[..., :rotary_dim], q[..., rotary_dim:]
    k_rot, k_pass = k[..., :rotary_dim], k[..., rotary_dim:]
    q_embed = torch.cat([(q_rot * cos) + (rotate_half(q_rot) * sin), q_pass], dim=-1)
    k_embed = torch.cat([(k_rot * cos) + (rotate_half(k_rot) * sin), k_pass], dim=-1)
    return q_embed, k_embed


def given_apply_rotary_pos_emb__partial_returned(q, k, cos, sin, unsqueeze_dim):
    cos = cos.unsqueeze(unsqueeze_dim)
    sin = sin.unsqueeze(unsqueeze_dim)
    rot_dim = cos.shape[-1]
    q, q_pass = q[..., :rot_dim], q[..., rot_dim:]
    k, k_pass = k[..., :rot_dim], k[..., rot_dim:]
    q_embed = (q * cos) + (rotate_half(q) * sin)
    k_embed = (k * cos) + (rotate_half(k) * sin)
    return torch.cat((q_embed, q_pass), dim=-1), torch.cat((k_embed, k_pass), dim=-1)


def before_kernel(self, q, k, v, cos, sin, mask, cache, scaling, **kwargs):
    query = q.transpose(1, 2)
    key = k.transpose(1, 2)
    value = v.transpose(1, 2)
    ...
    query, key = apply_rotary_pos_emb(query, key, cos, sin)
    ...
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    ...
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
    ...
    output, weights = interface(self, query, key, value, mask, dropout=..., scaling=scaling, **kwargs)


def after_kernel(self, q, k, v, cos, sin, mask, cache, scaling, **kwargs):
    query = q
    key = k
    value = v
    ...
    query, key = apply_rotary_pos_emb(query, key, cos, sin, unsqueeze_dim=2)
    ...
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    ...
    ...
    output, _ = torch_npu.npu_fused_infer_attention_score(
        query,
        key,
        value,
        atten_mask=mask,
        actual_seq_lengths_kv=actual_seq_lengths(cache, self.layer_idx),
        num_heads=query.shape[2],
        num_key_value_heads=key.shape[2],
        scale=scaling,
        input_layout="BSND",
    )
    weights = None


def before_kernel__window(self, q, k, v, cos, sin, mask, cache, scaling, **kwargs):
    query = q.transpose(1, 2)
    key = k.transpose(1, 2)
    value = v.transpose(1, 2)
    ...
    query, key = apply_rotary_pos_emb(query, key, cos, sin)
    ...
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    ...
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
    ...
    output, weights = interface(
        self, query, key, value, mask, dropout=..., scaling=scaling, sliding_window=..., **kwargs
    )


def before_cache(self, use_cache, cache, attention_mask, **kwargs):
    if use_cache and cache is None:
        cache = DynamicCache(config=self.config)


def after_cache(self, use_cache, cache, attention_mask, **kwargs):
    cache = prepare_kv_cache(
        self.config, cache, use_cache, attention_mask=attention_mask, **kwargs
    )


def before_mask(self):
    create_causal_mask


def after_mask(self):
    npu_causal_mask


def before_mask__window(self):
    create_sliding_window_causal_mask


def after_mask__window(self):
    npu_sliding_window_causal_mask


def not_kernel_with_softcap(self, q, k, v, cos, sin, mask, cache, scaling, **kwargs):
    """The kernel has no soft cap: dropping the argument would change the scores."""
    query = q.transpose(1, 2)
    key = k.transpose(1, 2)
    value = v.transpose(1, 2)
    query, key = apply_rotary_pos_emb(query, key, cos, sin)
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
    output, weights = interface(
        self, query, key, value, mask, dropout=0.0, scaling=scaling, softcap=self.softcap, **kwargs
    )


def not_kernel_that_caches_before_rotary(self, q, k, v, cos, sin, mask, cache, scaling, **kwargs):
    """Keys must be in the cache as they are after the rotation."""
    query = q.transpose(1, 2)
    key = k.transpose(1, 2)
    value = v.transpose(1, 2)
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    query, key = apply_rotary_pos_emb(query, key, cos, sin)
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
    output, weights = interface(self, query, key, value, mask, dropout=0.0, scaling=scaling, **kwargs)


def _prefill_and_decode(draw, kernel, cache_edit, mask_edit, window=None):
    """A padded prefill of 7 and two decode steps: the outputs of real positions."""
    config = LlamaConfig(
        num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=1, attn_implementation="sdpa"
    )
    config.sliding_window = window
    model = draw.module(config=config)
    self = draw.module(
        config=config, layer_idx=0, num_key_value_groups=2, training=False, is_causal=True, attention_dropout=0.0
    )
    cache = cache_edit(model, True, None, None)["cache"]
    outputs, seen = [], 0
    for length in (7, 1, 1):
        seen += length
        padding = torch.ones(2, seen, dtype=torch.int64)
        padding[0, :3] = 0
        mask = mask_edit(model)(
            config=config,
            inputs_embeds=draw.normal(2, length, 8),
            attention_mask=padding,
            past_key_values=cache,
            position_ids=None,
        )
        q, k, v = draw.normal(2, length, 4, 16), draw.normal(2, length, 2, 16), draw.normal(2, length, 2, 16)
        angle = draw.uniform(2, length, 8)
        cos, sin = torch.cat((angle.cos(), angle.cos()), -1), torch.cat((angle.sin(), angle.sin()), -1)
        output = kernel(self, q, k, v, cos, sin, mask, cache, 0.25)["output"]
        outputs.append(output * padding[:, -length:, None, None])
    return outputs


def proof_before(draw):
    plain = _prefill_and_decode(draw, before_kernel, before_cache, before_mask)
    windowed = _prefill_and_decode(draw, before_kernel__window, before_cache, before_mask__window, window=4)
    return plain, windowed


def proof_after(draw):
    plain = _prefill_and_decode(draw, after_kernel, after_cache, after_mask)
    windowed = _prefill_and_decode(draw, after_kernel, after_cache, after_mask__window, window=4)
    return plain, windowed

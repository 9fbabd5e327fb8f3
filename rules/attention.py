"""Attention through the interface -> npu_fused_infer_attention_score in BSND, over a static KV cache

Why:      one kernel for scores, mask, softmax and values; no transposes, no repeated KV heads; a cache that never
          moves, so that a decode step is one fixed graph.
Numerics: softmax in fp32, as in the source.
Contract: torch_npu.npu_fused_infer_attention_score: masks are True where nothing is computed, the reverse of SDPA,
          so masks and kernel change together; the cache holds (batch, length, heads, head_dim). Windows are in the
          mask. Attention weights never exist, and asking for them is an error.
"""

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
        Edit("kernel", site="attention.forward", unit="statements", private=("query", "key", "value", "interface")),
        Edit("cache", site="model.forward", unit="statements"),
        Edit("mask", site="*", unit="expression"),
    ),
    scope="module",
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


def given_apply_rotary_pos_emb(q, k, cos, sin, unsqueeze_dim):
    cos = cos.unsqueeze(unsqueeze_dim)
    sin = sin.unsqueeze(unsqueeze_dim)
    ...


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


def before_cache(self, use_cache, cache, **kwargs):
    if use_cache and cache is None:
        cache = DynamicCache(config=self.config)


def after_cache(self, use_cache, cache, **kwargs):
    cache = prepare_kv_cache(self.config, cache, use_cache, **kwargs)


def before_mask(self):
    create_causal_mask


def after_mask(self):
    npu_causal_mask


def before_mask__window(self):
    create_sliding_window_causal_mask


def after_mask__window(self):
    npu_sliding_window_causal_mask

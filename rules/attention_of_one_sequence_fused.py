"""Attention of one projection that could look at another sequence -> npu_fused_infer_attention_score over its own

Why:      as `attention`: one kernel, no transposes, a cache that never moves. What an encoder would give has no part in
          a causal model; q, k and v are one product in the source already.
Numerics: the kernel's softmax is in fp32; the source's is in the dtype of its scores, or in fp32 where it upcasts.
Contract: torch_npu.npu_fused_infer_attention_score, as `attention` uses it. States of another sequence are an error.
"""

import torch
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.gpt2.modeling_gpt2 import eager_attention_forward
from transformers.utils.generic import is_flash_attention_requested

from porter.npu import torch_npu
from porter.rule import OTHER_ATTENTION, PLAIN_INTERFACE, Argument, Edit, Rule
from porter.runtime import actual_seq_lengths, kernel_mask, npu_encoder_mask, prepare_kv_cache
from porter.verify.decoding import prefill_and_decode
from rules.shared.eager_attention import (
    given_eager_attention_forward,
    given_eager_attention_forward__in_one_dtype_typed,
    given_repeat_kv,
)
from rules.shared.static_cache import (
    after_mask,
    after_mask__of_an_encoder,
    after_mask__window,
    before_mask,
    before_mask__of_an_encoder,
    before_mask__window,
)

rule = Rule(
    edits=(
        Edit(
            "kernel",
            site="attention.forward",
            unit="statements",
            answers=("kernel", "qkv"),
            private=("query", "key", "value"),
        ),
        Edit("cache", site="model.forward", unit="statements", answers=("kernel",)),
        Edit("mask", site="*", unit="expression", carried=("mask",)),
    ),
    guards=PLAIN_INTERFACE,
    absent=OTHER_ATTENTION,
)


def before_kernel(self, hidden_states, other: Argument, other_mask, mask, cache: Argument, dropout=0.0, **kwargs):
    crosses = other is not None
    if cache is not None:
        if isinstance(cache, EncoderDecoderCache):
            updated = cache.is_updated.get(self.layer_idx)
            if crosses:
                current = cache.cross_attention_cache
            else:
                current = cache.self_attention_cache
        else:
            current = cache
    if crosses:
        if not hasattr(self, "q_attn"):
            raise ...
        query = self.q_attn(hidden_states)
        mask = other_mask
        if cache is not None and updated:
            key = current.layers[self.layer_idx].keys
            value = current.layers[self.layer_idx].values
        else:
            key, value = self.c_attn(other).split(self.split_size, dim=2)
            key_shape = (*key.shape[:-1], -1, self.head_dim)
            key = key.view(key_shape).transpose(1, 2)
            value = value.view(key_shape).transpose(1, 2)
    else:
        query, key, value = self.c_attn(hidden_states).split(self.split_size, dim=2)
        key_shape = (*key.shape[:-1], -1, self.head_dim)
        key = key.view(key_shape).transpose(1, 2)
        value = value.view(key_shape).transpose(1, 2)
    shape = (*query.shape[:-1], -1, self.head_dim)
    query = query.view(shape).transpose(1, 2)
    if (cache is not None and not crosses) or (cache is not None and crosses and not updated):
        key, value = current.update(key, value, self.layer_idx)
        if crosses:
            cache.is_updated[self.layer_idx] = True
    eager = self.config._attn_implementation == "eager"
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
    if eager and self.reorder_and_upcast_attn:
        output, weights = self._upcast_and_reordered_attn(query, key, value, mask)
    else:
        output, weights = interface(self, query, key, value, mask, dropout=dropout, scaling=self.scaling, **kwargs)


def after_kernel(self, hidden_states, other, other_mask, mask, cache, **kwargs):
    if other is not None or not self.is_causal:
        raise ValueError("this port attends causally to its own sequence: it takes no states of an encoder")
    query, key, value = self.c_attn(hidden_states).split(self.split_size, dim=2)
    shape = (*query.shape[:-1], -1, self.head_dim)
    query = query.view(shape)
    key = key.view(shape)
    value = value.view(shape)
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    output, _ = torch_npu.npu_fused_infer_attention_score(
        query,
        key,
        value,
        atten_mask=kernel_mask(mask, query, cache, self.layer_idx),
        actual_seq_lengths_kv=actual_seq_lengths(cache, self.layer_idx, **kwargs),
        num_heads=query.shape[2],
        num_key_value_heads=key.shape[2],
        scale=self.scaling,
        input_layout="BSND",
    )
    weights = None


def before_kernel__few_heads(self, hidden_states, other: Argument, mask, cache: Argument, error, dropout=0.0, **kwargs):
    input_shape = hidden_states.shape[:-1]
    if cache is not None:
        if isinstance(cache, EncoderDecoderCache):
            updated = cache.is_updated.get(self.layer_idx)
            if self.is_cross_attention:
                current = cache.cross_attention_cache
            else:
                current = cache.self_attention_cache
        else:
            current = cache
    if self.is_cross_attention:
        if not hasattr(self, "q_attn") or not self.is_cross_attention:
            raise error
        if cache is not None and updated:
            key = current.layers[self.layer_idx].keys
            value = current.layers[self.layer_idx].values
        else:
            query = self.q_attn(hidden_states).view(*input_shape, -1, self.head_dim).transpose(1, 2)
            key, value = self.c_attn(other).split((self.head_dim, self.head_dim), dim=-1)
    else:
        if self.multi_query:
            query, key, value = self.c_attn(hidden_states).unsqueeze(1).split(
                (self.embed_dim, self.kv_dim, self.kv_dim), dim=3
            )
            query = query.view(*input_shape, -1, self.head_dim).transpose(1, 2)
        else:
            query, key, value = self.c_attn(hidden_states).view(
                *hidden_states.shape[:2], self.num_heads, 3 * self.head_dim
            ).transpose(1, 2).split(3 * [self.head_dim], dim=3)
    if cache is not None:
        key, value = current.update(key, value, self.layer_idx)
        if self.is_cross_attention:
            cache.is_updated[self.layer_idx] = True
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
    output, weights = interface(self, query, key, value, mask, dropout=dropout, scaling=self.scaling, **kwargs)


def after_kernel__few_heads(self, hidden_states, other, mask, cache, error, **kwargs):
    if self.is_cross_attention or other is not None:
        raise ValueError("this port attends causally to its own sequence: it takes no states of an encoder")
    input_shape = hidden_states.shape[:-1]
    if self.multi_query:
        query, key, value = self.c_attn(hidden_states).split((self.embed_dim, self.kv_dim, self.kv_dim), dim=2)
        query = query.view(*input_shape, -1, self.head_dim)
        key = key.unsqueeze(2)
        value = value.unsqueeze(2)
    else:
        query, key, value = (
            self.c_attn(hidden_states)
            .view(*input_shape, self.num_heads, 3 * self.head_dim)
            .split(3 * [self.head_dim], dim=3)
        )
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    output, _ = torch_npu.npu_fused_infer_attention_score(
        query,
        key,
        value,
        atten_mask=kernel_mask(mask, query, cache, self.layer_idx),
        actual_seq_lengths_kv=actual_seq_lengths(cache, self.layer_idx, **kwargs),
        num_heads=query.shape[2],
        num_key_value_heads=key.shape[2],
        scale=self.scaling,
        input_layout="BSND",
    )
    weights = None


def before_cache__and_mask(self, use_cache, cache: Argument, attention_mask, other, other_mask, **kwargs):
    if use_cache and cache is None:
        cache = DynamicCache(config=self.config)
    ...
    if is_flash_attention_requested(self.config):
        other_mask = other_mask.bool() if (other_mask is not None and 0 in other_mask) else None
    else:
        if self.config.add_cross_attention and other is not None and other_mask is not None:
            if other_mask.dim() == 2:
                other_mask.unsqueeze(1)
            assert other_mask.dim() == 3
            other_mask = other_mask.bool().unsqueeze(2 if self.multi_query else 1)
        else:
            other_mask = None


def after_cache__and_mask(self, use_cache, cache, attention_mask, other, other_mask, **kwargs):
    cache = prepare_kv_cache(self.config, cache, use_cache, attention_mask=attention_mask, **kwargs)
    ...
    other_mask = npu_encoder_mask(other)


def before_cache(self, use_cache, cache: Argument, attention_mask, **kwargs):
    kwargs.pop("output_attentions", None)
    kwargs.pop("output_hidden_states", None)
    ...
    if use_cache:
        if cache is None:
            cache = DynamicCache(config=self.config)
        if self.config.add_cross_attention and not isinstance(cache, EncoderDecoderCache):
            cache = EncoderDecoderCache(cache, DynamicCache(config=self.config))


def after_cache(self, use_cache, cache, attention_mask, **kwargs):
    weights_wanted = kwargs.pop("output_attentions", None)
    kwargs.pop("output_hidden_states", None)
    ...
    cache = prepare_kv_cache(
        self.config,
        cache,
        use_cache,
        attention_mask=attention_mask,
        output_attentions=weights_wanted,
        **kwargs,
    )


def not_kernel_that_always_crosses(self, hidden_states, other, mask, cache, **kwargs):
    """Keys and values of another sequence alone are no attention of a causal model."""
    query = self.q_attn(hidden_states)
    key, value = self.c_attn(other).split(self.split_size, dim=2)
    key_shape = (*key.shape[:-1], -1, self.head_dim)
    key = key.view(key_shape).transpose(1, 2)
    value = value.view(key_shape).transpose(1, 2)
    shape = (*query.shape[:-1], -1, self.head_dim)
    query = query.view(shape).transpose(1, 2)
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
    output, weights = interface(self, query, key, value, mask, dropout=0.0, scaling=self.scaling, **kwargs)


def _runs(draw, kernel, few_heads, caches, mask_edit, window_edit):
    """The kernels on q, k and v side by side, as one projection gives them: heads of one kind together, or head by
    head. One head of keys is held against the written out scores: on a CPU PyTorch's own kernel has these in fp32."""

    def step(self, q, k, v, cos, sin, mask, cache):
        return kernel(self, torch.cat((q, k, v), dim=-2).flatten(2), None, None, mask, cache)["output"]

    def few(self, q, k, v, cos, sin, mask, cache):
        fused = torch.cat((q, k, v), dim=-2 if self.multi_query else -1).flatten(2)
        return few_heads(self, fused, None, mask, cache, ValueError())["output"]

    runs = []
    shared = dict(c_attn=lambda x: x, split_size=64, head_dim=16, scaling=0.25, embed_dim=64, kv_dim=16, num_heads=4)
    for side, key_heads, cache_edit in ((step, 4, caches[0]), (few, 4, caches[1]), (few, 1, caches[1])):
        attributes = dict(shared, multi_query=key_heads == 1, reorder_and_upcast_attn=False, is_cross_attention=False)
        asked = dict(key_heads=key_heads, implementation="eager" if key_heads == 1 else "sdpa", **attributes)
        for window, edit in ((None, mask_edit), (4, window_edit)):
            runs.append(prefill_and_decode(draw, side, cache_edit, edit, window=window, **asked))
    return runs


def _and_mask(edit):
    def cache(self, use_cache, cache, attention_mask):
        self.config.add_cross_attention, self.multi_query = False, True
        return edit(self, use_cache, cache, attention_mask, None, None)

    return cache


def proof_before(draw):
    def cache(self, use_cache, cache, attention_mask):
        self.config.add_cross_attention = False
        return before_cache(self, use_cache, cache, attention_mask)

    caches = cache, _and_mask(before_cache__and_mask)
    return _runs(draw, before_kernel, before_kernel__few_heads, caches, before_mask, before_mask__window)


def proof_after(draw):
    caches = after_cache, _and_mask(after_cache__and_mask)
    return _runs(draw, after_kernel, after_kernel__few_heads, caches, after_mask, after_mask__window)

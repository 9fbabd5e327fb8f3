"""Attention that could look at another sequence, in a decoder that looks at its own -> npu_fused_infer_attention_score

Why:      as `attention`: one kernel, no transposes, a cache that never moves; and q, k and v are one product, for they
          come from one sequence. What an encoder would give has no part in a causal model.
Numerics: the kernel's softmax is in fp32; the source's is in the dtype of its scores.
Contract: torch_npu.npu_fused_infer_attention_score, as `attention` uses it. States of another sequence, and attention
          of an encoder's own, are an error, before a token is computed.
"""

import torch
from torch import nn
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.bart.modeling_bart import eager_attention_forward

from porter.npu import torch_npu
from porter.rule import OTHER_ATTENTION, PLAIN_INTERFACE, Argument, Edit, Rule
from porter.runtime import actual_seq_lengths, kernel_mask, prepare_kv_cache
from porter.verify.decoding import prefill_and_decode
from rules.shared.eager_attention import (
    given_eager_attention_forward__in_one_dtype,
    given_eager_attention_forward__in_one_dtype_of_values,
)
from rules.shared.merged_qkv import after_init, before_init__query_last
from rules.shared.static_cache import (
    after_cache,
    after_mask,
    after_mask__of_an_encoder,
    after_mask__window,
    before_cache,
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
        Edit("init", site="attention.__init__", unit="statements"),
        Edit("cache", site="model.forward", unit="statements", answers=("kernel",)),
        Edit("mask", site="*", unit="expression", carried=("mask",)),
    ),
    guards=PLAIN_INTERFACE,
    absent=OTHER_ATTENTION,
    merges={"qkv": ("q_proj", "k_proj", "v_proj")},
)


def before_kernel(self, hidden_states, other: Argument, mask: Argument, cache: Argument, dropout=0.0, **kwargs):
    crosses = other is not None
    input_shape = hidden_states.shape[:-1]
    hidden_shape = (*input_shape, -1, self.head_dim)
    query = self.q_proj(hidden_states).view(hidden_shape).transpose(1, 2)
    updated = False
    if cache is not None:
        if isinstance(cache, EncoderDecoderCache):
            updated = cache.is_updated.get(self.layer_idx)
            if crosses:
                current = cache.cross_attention_cache
            else:
                current = cache.self_attention_cache
        else:
            current = cache
    states = other if crosses else hidden_states
    if crosses and cache is not None and updated:
        key = current.layers[self.layer_idx].keys
        value = current.layers[self.layer_idx].values
    else:
        key = self.k_proj(states)
        value = self.v_proj(states)
        key_shape = (*states.shape[:-1], -1, self.head_dim)
        key = key.view(key_shape).transpose(1, 2)
        value = value.view(key_shape).transpose(1, 2)
        if cache is not None:
            key, value = current.update(key, value, self.layer_idx)
            if crosses and isinstance(cache, EncoderDecoderCache):
                cache.is_updated[self.layer_idx] = True
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
    output, weights = interface(self, query, key, value, mask, dropout=dropout, scaling=self.scaling, **kwargs)


def after_kernel(self, hidden_states, other, mask, cache, **kwargs):
    if other is not None or not self.is_decoder:
        raise ValueError("this port attends causally to its own sequence: it takes no states of an encoder")
    input_shape = hidden_states.shape[:-1]
    hidden_shape = (*input_shape, -1, self.head_dim)
    query, key, value = self.qkv(hidden_states).split(self.qkv_sizes, dim=-1)
    query = query.view(hidden_shape)
    key = key.view(hidden_shape)
    value = value.view(hidden_shape)
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


def before_cache__of_two(self, use_cache: Argument, cache: Argument, other, attention_mask, **kwargs):
    if use_cache and cache is None:
        cache = (
            EncoderDecoderCache(DynamicCache(config=self.config), DynamicCache(config=self.config))
            if other is not None or self.config.is_encoder_decoder
            else DynamicCache(config=self.config)
        )


def after_cache__of_two(self, use_cache, cache, other, attention_mask, **kwargs):
    if other is not None:
        raise ValueError("this port attends causally to its own sequence: it takes no states of an encoder")
    cache = prepare_kv_cache(
        self.config, cache, use_cache, attention_mask=attention_mask, **kwargs
    )


def not_kernel_with_keys_first(self, hidden_states, other, mask, cache, **kwargs):
    """Without the choice of a cache and with scaled queries: another attention."""
    crosses = other is not None
    input_shape = hidden_states.shape[:-1]
    hidden_shape = (*input_shape, -1, self.head_dim)
    query = (self.q_proj(hidden_states) * self.scaling).view(hidden_shape).transpose(1, 2)
    states = other if crosses else hidden_states
    key = self.k_proj(states).view(hidden_shape).transpose(1, 2)
    value = self.v_proj(states).view(hidden_shape).transpose(1, 2)
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
    output, weights = interface(self, query, key, value, mask, dropout=0.0, scaling=1.0, **kwargs)


def _rows(draw, bias):
    """(weight, bias) of q, k and v: each output is one of 192 channels, or its bias alone: nothing is rounded."""
    rows = []
    for picked in torch.eye(192, dtype=draw.dtype).split(64):
        biased = draw.bools(64, share=0.25) if bias else torch.zeros(64, dtype=torch.bool)
        rows.append((picked * ~biased[:, None], draw.normal(64) * biased if bias else None))
    return rows


def _linear(weight, bias):
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    linear.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        linear.bias = nn.Parameter(bias, requires_grad=False)
    return linear


def _runs(draw, kernel, project, cache_edits, mask_edit, window_edit):
    """The kernel on what the projections of a drawn sequence make."""
    runs = []
    for cache_edit, bias in zip(cache_edits, (True, False), strict=True):
        for window, edit in ((None, mask_edit), (4, window_edit)):
            projections = project(_rows(draw, bias))

            def step(self, q, k, v, cos, sin, mask, cache, projections=projections):
                for name, value in projections.items():
                    setattr(self, name, value)
                hidden_states = torch.cat((q, k, v), dim=-2).flatten(2)
                return kernel(self, hidden_states, None, mask, cache)["output"]

            attributes = dict(head_dim=16, scaling=0.25, is_decoder=True)
            runs.append(prefill_and_decode(draw, step, cache_edit, edit, window=window, key_heads=4, **attributes))
    return runs


def proof_before(draw):
    def project(rows):
        return dict(zip(("q_proj", "k_proj", "v_proj"), (_linear(*row) for row in rows), strict=True))

    def of_two(self, use_cache, cache, attention_mask):
        return before_cache__of_two(self, use_cache, cache, None, attention_mask)

    return _runs(draw, before_kernel, project, (before_cache, of_two), before_mask, before_mask__window)


def proof_after(draw):
    def project(rows):
        weights, biases = zip(*rows, strict=True)
        bias = None if biases[0] is None else torch.cat(biases)
        return dict(qkv=_linear(torch.cat(weights), bias), qkv_sizes=[64, 64, 64])

    def of_two(self, use_cache, cache, attention_mask):
        return after_cache__of_two(self, use_cache, cache, None, attention_mask)

    return _runs(draw, after_kernel, project, (after_cache, of_two), after_mask, after_mask__window)

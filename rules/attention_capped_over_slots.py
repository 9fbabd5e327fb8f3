"""Attention with a soft cap -> the source's own products, over a static KV cache in BSND

Why:      no kernel computes a soft cap (`attention_capped`), but a cache that never moves and masks as long as it make
          a decode step one fixed graph all the same; no transposes before the rotation.
Numerics: the source's own: scores, cap, mask and softmax are its eager function's. What a mask hides has a weight of 0.
Contract: PyTorch ops alone. Masks are True where nothing is computed, and become the additive ones of the eager
          function, as long as the cache. In eager, slots that hold no token are not read.
"""

import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.gemma2.modeling_gemma2 import apply_rotary_pos_emb, eager_attention_forward

from porter.rule import OTHER_ATTENTION_OR_ENCODER, PLAIN_ATTENTION, Argument, Edit, Rule, maybe
from porter.runtime import actual_seq_lengths, kernel_mask
from porter.verify.decoding import prefill_and_decode
from rules.shared.cap_or_sinks import not_kernel_of_scores_alone, not_kernel_with_a_cap_and_sinks
from rules.shared.eager_attention import given_eager_attention_forward__that_may_cap, given_repeat_kv
from rules.shared.rotary import given_apply_rotary_pos_emb, given_rotate_half
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
            private=("query", "key", "value"),
        ),
        Edit("cache", site="model.forward", unit="statements"),
        Edit("mask", site="*", unit="expression", carried=("mask",)),
    ),
    guards=PLAIN_ATTENTION,
    absent=OTHER_ATTENTION_OR_ENCODER,
)


def before_kernel(self, q, k, v, cos, sin, mask: Argument, cache: Argument, scaling, cap, dropout=0.0, **kwargs):
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
        self, query, key, value, mask, dropout=dropout, scaling=scaling, sliding_window=maybe, softcap=cap, **kwargs
    )


def after_kernel(self, q, k, v, cos, sin, mask, cache, scaling, cap, dropout=0.0, **kwargs):
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
    masked = kernel_mask(mask, query, cache, self.layer_idx)
    lengths = actual_seq_lengths(cache, self.layer_idx, **kwargs)
    if lengths is not None:
        key, value = key[:, : lengths[0]], value[:, : lengths[0]]
    if masked is not None:
        hidden = masked[..., : key.shape[1]]
        masked = query.new_zeros(hidden.shape).masked_fill(hidden, torch.finfo(query.dtype).min)
    output, weights = eager_attention_forward(
        self,
        query.transpose(1, 2),
        key.transpose(1, 2),
        value.transpose(1, 2),
        masked,
        dropout=dropout,
        scaling=scaling,
        softcap=cap,
        **kwargs,
    )


def not_kernel_that_keeps_what_is_not_turned(self, q, k, v, cos, sin, mask, cache, scaling, cap, **kwargs):
    """Keys that are turned behind the cache are other keys in it."""
    query = q.transpose(1, 2)
    key = k.transpose(1, 2)
    value = v.transpose(1, 2)
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    query, key = apply_rotary_pos_emb(query, key, cos, sin)
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
    output, weights = interface(self, query, key, value, mask, dropout=0.0, scaling=scaling, softcap=cap, **kwargs)


def _runs(draw, kernel, cache_edit, mask_edit, window_edit):
    def step(self, q, k, v, cos, sin, mask, cache):
        return kernel(self, q, k, v, cos, sin, mask, cache, 0.25, 2.0)["output"]

    masks = (None, mask_edit), (4, window_edit)
    return [
        prefill_and_decode(draw, step, cache_edit, edit, window=window, implementation="eager")
        for window, edit in masks
    ]


def proof_before(draw):
    return _runs(draw, before_kernel, before_cache, before_mask, before_mask__window)


def proof_after(draw):
    return _runs(draw, after_kernel, after_cache, after_mask, after_mask__window)

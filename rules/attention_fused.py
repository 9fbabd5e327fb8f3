"""Attention of one projection, parted behind the transpose -> npu_fused_infer_attention_score in BSND

Why:      as `attention`: one kernel, no transposes, no repeated heads, a cache that never moves.
Numerics: softmax in fp32, as in the source. The parts are of the last dimension: wherever the heads are.
Contract: torch_npu.npu_fused_infer_attention_score, as `attention` uses it: masks are True where nothing is computed,
          and change with the kernel.
"""

import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb, eager_attention_forward

from porter.npu import torch_npu
from porter.rule import OTHER_ATTENTION_OR_ENCODER, PLAIN_ATTENTION, Argument, Edit, Rule
from porter.runtime import actual_seq_lengths, kernel_mask
from porter.verify.decoding import prefill_and_decode
from rules.shared.eager_attention import (
    given_eager_attention_forward,
    given_eager_attention_forward__one_head_each,
    given_repeat_kv,
)
from rules.shared.rotary import (
    given_apply_rotary_pos_emb,
    given_apply_rotary_pos_emb__partial,
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
            private=("query", "key", "value"),
        ),
        Edit("cache", site="model.forward", unit="statements"),
        Edit("mask", site="*", unit="expression", carried=("mask",)),
    ),
    guards=PLAIN_ATTENTION,
    absent=OTHER_ATTENTION_OR_ENCODER,
)


def before_kernel(self, qkv, cos, sin, mask: Argument, cache: Argument, scaling, dropout=0.0, **kwargs):
    fused = qkv.transpose(1, 2)
    query, key, value = fused.chunk(3, dim=-1)
    ...
    query, key = apply_rotary_pos_emb(query, key, cos, sin)
    ...
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    ...
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
    ...
    output, weights = interface(self, query, key, value, mask, dropout=dropout, scaling=scaling, **kwargs)


def after_kernel(self, qkv, cos, sin, mask, cache, scaling, **kwargs):
    query, key, value = qkv.chunk(3, dim=-1)
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
        atten_mask=kernel_mask(mask, query, cache, self.layer_idx),
        actual_seq_lengths_kv=actual_seq_lengths(cache, self.layer_idx, **kwargs),
        num_heads=query.shape[2],
        num_key_value_heads=key.shape[2],
        scale=scaling,
        input_layout="BSND",
    )
    weights = None


def not_kernel_parted_by_heads(self, qkv, cos, sin, mask, cache, scaling, **kwargs):
    """Parts of the heads' dimension stand elsewhere in BSND."""
    fused = qkv.transpose(1, 2)
    query, key, value = fused.chunk(3, dim=1)
    query, key = apply_rotary_pos_emb(query, key, cos, sin)
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
    output, weights = interface(self, query, key, value, mask, dropout=0.0, scaling=scaling, **kwargs)


def not_kernel_with_keys_that_do_not_turn(self, qkv, cos, sin, mask, cache, scaling, **kwargs):
    """A rotation of queries alone is another computation."""
    fused = qkv.transpose(1, 2)
    query, key, value = fused.chunk(3, dim=-1)
    query, _ = apply_rotary_pos_emb(query, key, cos, sin)
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
    output, weights = interface(self, query, key, value, mask, dropout=0.0, scaling=scaling, **kwargs)


def _runs(draw, kernel, cache_edit, mask_edit, window_edit):
    def step(self, q, k, v, cos, sin, mask, cache):
        return kernel(self, torch.cat((q, k, v), dim=-1), cos, sin, mask, cache, 0.25)["output"]

    masks = (None, mask_edit), (4, window_edit)
    return [prefill_and_decode(draw, step, cache_edit, edit, window=window, key_heads=4) for window, edit in masks]


def proof_before(draw):
    return _runs(draw, before_kernel, before_cache, before_mask, before_mask__window)


def proof_after(draw):
    return _runs(draw, after_kernel, after_cache, after_mask, after_mask__window)

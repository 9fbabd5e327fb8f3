"""Attention whose heads do not turn, positions being learned -> npu_fused_infer_attention_score in BSND

Why:      as `attention`: one kernel, no transposes, no repeated heads, a cache that never moves.
Numerics: softmax in fp32, as in the source. A query that comes scaled stays so.
Contract: torch_npu.npu_fused_infer_attention_score, as `attention` uses it: masks are True where nothing is computed,
          and change with the kernel.
"""

from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import eager_attention_forward

from porter.npu import torch_npu
from porter.rule import OTHER_ATTENTION_OR_ENCODER, PLAIN_ATTENTION, Argument, Edit, Rule
from porter.runtime import actual_seq_lengths, kernel_mask
from porter.verify.decoding import prefill_and_decode
from rules.shared.eager_attention import (
    given_eager_attention_forward,
    given_eager_attention_forward__one_head_each,
    given_eager_attention_forward__one_head_each_from_the_end,
    given_repeat_kv,
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
    supersedes=("attention",),
    guards=PLAIN_ATTENTION,
    absent=OTHER_ATTENTION_OR_ENCODER,
)


def before_kernel(self, q, k, v, mask: Argument, cache: Argument, scaling, dropout=0.0, **kwargs):
    query = q.transpose(1, 2)
    ...
    key = k.transpose(1, 2)
    value = v.transpose(1, 2)
    ...
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    ...
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
    ...
    output, weights = interface(self, query, key, value, mask, dropout=dropout, scaling=scaling, **kwargs)


def after_kernel(self, q, k, v, mask, cache, scaling, **kwargs):
    query = q
    ...
    key = k
    value = v
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


def not_kernel_of_two_caches(self, q, k, v, mask, cache, scaling, **kwargs):
    """A cache for the own sequence and one for another's is no static cache."""
    query = q.transpose(1, 2)
    key = k.transpose(1, 2)
    value = v.transpose(1, 2)
    if cache is not None:
        key, value = cache.self_attention_cache.update(key, value, self.layer_idx)
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
    output, weights = interface(self, query, key, value, mask, dropout=0.0, scaling=scaling, **kwargs)


def not_kernel_with_values_first(self, q, k, v, mask, cache, scaling, **kwargs):
    """The kernel takes keys before values."""
    query = q.transpose(1, 2)
    key = k.transpose(1, 2)
    value = v.transpose(1, 2)
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
    output, weights = interface(self, query, value, key, mask, dropout=0.0, scaling=scaling, **kwargs)


def _runs(draw, kernel, cache_edit, mask_edit, window_edit):
    def step(self, q, k, v, cos, sin, mask, cache):
        return kernel(self, q, k, v, mask, cache, 0.25)["output"]

    masks = (None, mask_edit), (4, window_edit)
    return [prefill_and_decode(draw, step, cache_edit, edit, window=window) for window, edit in masks]


def proof_before(draw):
    return _runs(draw, before_kernel, before_cache, before_mask, before_mask__window)


def proof_after(draw):
    return _runs(draw, after_kernel, after_cache, after_mask, after_mask__window)

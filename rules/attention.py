"""Attention through the interface -> npu_fused_infer_attention_score in BSND, over a static KV cache

Why:      one kernel for scores, mask, softmax and values; no transposes, no repeated KV heads; a cache that never
          moves, so that a decode step is one fixed graph.
Numerics: softmax in fp32, as in the source.
Contract: torch_npu.npu_fused_infer_attention_score: masks are True where nothing is computed, the reverse of SDPA,
          so masks and kernel change together; the cache holds (batch, length, heads, head_dim). Windows are in the
          mask. Attention weights never exist, and asking for them is an error.
"""

import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb, eager_attention_forward

from porter.npu import torch_npu
from porter.rule import OTHER_ATTENTION_OR_ENCODER, PLAIN_ATTENTION, Argument, Edit, Rule, maybe
from porter.runtime import (
    actual_seq_lengths,
    kernel_mask,
)
from porter.verify.decoding import by_any_angle, prefill_and_decode
from rules.shared.eager_attention import (
    given_eager_attention_forward,
    given_eager_attention_forward__as_long_as_the_keys,
    given_eager_attention_forward__masked,
    given_eager_attention_forward__that_may_cap,
    given_repeat_kv,
)

# The rotation must not care where the heads are: it may only look at the last dimension. These do.
from rules.shared.rotary import (
    given_apply_rotary_pos_emb,
    given_apply_rotary_pos_emb__cast_back,
    given_apply_rotary_pos_emb__partial,
    given_apply_rotary_pos_emb__partial_repeated,
    given_apply_rotary_pos_emb__repeated,
    given_apply_rotary_pos_emb__repeated_wide,
    given_apply_rotary_pos_emb__wide,
    given_get_llama_4_attn_scale,
    given_rotate_half,
    given_rotate_half__backwards,
    given_rotate_half__interleaved,
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
    attributes=("q_norm", "k_norm"),
    requires={"q_norm": "norm", "k_norm": "norm"},  # over the last dimension, wherever the heads are
    guards=PLAIN_ATTENTION,
    absent=OTHER_ATTENTION_OR_ENCODER,
)


def before_kernel(
    self, q, k, v, cos, sin, mask: Argument, cache: Argument, scaling, turns=True,
    positions=None, beta=0.1, length=4, dropout=0.0, **kwargs,
):
    query = q.transpose(1, 2)
    key = k.transpose(1, 2)
    value = v.transpose(1, 2)
    ...
    with maybe:
        query = self.q_norm(query)
        key = self.k_norm(key)
        ...
    with maybe:
        if maybe(turns):
            ...
            query, key = apply_rotary_pos_emb(query, key, cos, sin)
    with maybe:
        query = self.q_norm(query)
        key = self.k_norm(key)
    with maybe:
        query = query * get_llama_4_attn_scale(positions, beta, length).to(query.dtype)
    ...
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    ...
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
    ...
    output, weights = interface(
        self,
        query,
        key,
        value,
        mask,
        dropout=dropout,
        scaling=scaling,
        sliding_window=maybe,
        position_ids=maybe,
        **kwargs,
    )


def after_kernel(
    self, q, k, v, cos, sin, mask, cache, scaling, turns=True, positions=None, beta=0.1, length=4, **kwargs
):
    query = q
    key = k
    value = v
    ...
    with maybe:
        query = self.q_norm(query)
        key = self.k_norm(key)
        ...
    with maybe:
        if maybe(turns):
            ...
            query, key = apply_rotary_pos_emb(query, key, cos, sin, unsqueeze_dim=2)
    with maybe:
        query = self.q_norm(query)
        key = self.k_norm(key)
    with maybe:
        query = query * get_llama_4_attn_scale(
            positions,
            beta,
            length,
        ).transpose(1, 2).to(query.dtype)
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


def before_kernel__mask_by_name(
    self, q, k, v, cos, sin, mask: Argument, cache: Argument, scaling, turns=True,
    positions=None, beta=0.1, length=4, dropout=0.0, **kwargs,
):
    query = q.transpose(1, 2)
    key = k.transpose(1, 2)
    value = v.transpose(1, 2)
    ...
    with maybe:
        query = self.q_norm(query)
        key = self.k_norm(key)
        ...
    with maybe:
        if maybe(turns):
            ...
            query, key = apply_rotary_pos_emb(query, key, cos, sin)
    with maybe:
        query = self.q_norm(query)
        key = self.k_norm(key)
    with maybe:
        query = query * get_llama_4_attn_scale(positions, beta, length).to(query.dtype)
    ...
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    ...
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
    ...
    output, weights = interface(
        self,
        query,
        key,
        value,
        attention_mask=mask,
        dropout=dropout,
        scaling=scaling,
        sliding_window=maybe,
        position_ids=maybe,
        **kwargs,
    )


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


class _Norm(torch.nn.Module):
    def __init__(self, draw):
        super().__init__()
        self.weight = draw.normal(16)

    def forward(self, x):
        return x * self.weight


def _runs(draw, kernel, cache_edit, mask_edit, window_edit):
    norms = dict(q_norm=_Norm(draw), k_norm=_Norm(draw))
    runs = []
    for window, edit in ((None, mask_edit), (4, window_edit)):
        seen = [0]  # tokens of the steps before: queries are scaled by their positions

        def step(self, q, k, v, cos, sin, mask, cache, seen=seen):
            positions = torch.arange(seen[0], seen[0] + q.shape[1])[None]
            seen[0] += q.shape[1]
            return kernel(self, q, k, v, cos, sin, mask, cache, 0.25, True, positions, 0.1, 4)["output"]

        runs.append(prefill_and_decode(draw, step, cache_edit, edit, window=window, turn=by_any_angle, **norms))
    return runs


def proof_before(draw):
    return _runs(draw, before_kernel, before_cache, before_mask, before_mask__window)


def proof_before__mask_by_name(draw):
    return _runs(draw, before_kernel__mask_by_name, before_cache, before_mask, before_mask__window)


def proof_after(draw):
    return _runs(draw, after_kernel, after_cache, after_mask, after_mask__window)

"""Attention whose heads turn in part, on slices in its body -> npu_fused_infer_attention_score in BSND

Why:      as `attention`: one kernel, no transposes, no repeated heads, a cache that never moves.
Numerics: softmax in fp32, as in the source. Slices and joins are of the last dimension: wherever the heads are.
Contract: torch_npu.npu_fused_infer_attention_score, as `attention` uses it: masks are True where nothing is computed,
          and change with the kernel. Norms of q and k are over the last dimension.
"""

import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb, eager_attention_forward

from porter.npu import torch_npu
from porter.rule import OTHER_ATTENTION_OR_ENCODER, PLAIN_ATTENTION, Argument, Edit, Rule, maybe
from porter.runtime import actual_seq_lengths, kernel_mask
from porter.verify.decoding import prefill_and_decode
from rules.shared.eager_attention import (
    given_eager_attention_forward,
    given_eager_attention_forward__masked,
    given_eager_attention_forward__one_head_each,
    given_repeat_kv,
)
from rules.shared.rotary import given_apply_rotary_pos_emb, given_rotate_half
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
            private=("query", "key", "value", "q_turned", "q_rest", "k_turned", "k_rest"),
        ),
        Edit("cache", site="model.forward", unit="statements"),
        Edit("mask", site="*", unit="expression", carried=("mask",)),
    ),
    attributes=("q_norm", "k_norm"),
    requires={"q_norm": "norm", "k_norm": "norm"},
    guards=PLAIN_ATTENTION,
    absent=OTHER_ATTENTION_OR_ENCODER,
)


def before_kernel(
    self, q, k, v, cos, sin, width, mask: Argument, cache: Argument, scaling, normed=True, dropout=0.0, **kwargs
):
    query = q.transpose(1, 2)
    key = k.transpose(1, 2)
    value = v.transpose(1, 2)
    ...
    with maybe:
        if maybe(normed):
            query = self.q_norm(query)
            key = self.k_norm(key)
        ...
    q_turned, q_rest = query[..., :width], query[..., width:]
    k_turned, k_rest = key[..., :width], key[..., width:]
    q_turned, k_turned = apply_rotary_pos_emb(q_turned, k_turned, cos, sin)
    query = torch.cat((q_turned, q_rest), dim=-1)
    key = torch.cat((k_turned, k_rest), dim=-1)
    ...
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    ...
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
    ...
    output, weights = interface(
        self, query, key, value, mask, dropout=dropout, scaling=scaling, position_ids=maybe, **kwargs
    )


def after_kernel(self, q, k, v, cos, sin, width, mask, cache, scaling, normed=True, **kwargs):
    query = q
    key = k
    value = v
    ...
    with maybe:
        if maybe(normed):
            query = self.q_norm(query)
            key = self.k_norm(key)
        ...
    q_turned, q_rest = query[..., :width], query[..., width:]
    k_turned, k_rest = key[..., :width], key[..., width:]
    q_turned, k_turned = apply_rotary_pos_emb(q_turned, k_turned, cos, sin, unsqueeze_dim=2)
    query = torch.cat((q_turned, q_rest), dim=-1)
    key = torch.cat((k_turned, k_rest), dim=-1)
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


def before_kernel__value_second(
    self, q, k, v, cos, sin, width, mask: Argument, cache: Argument, scaling, dropout=0.0, **kwargs
):
    query = q.transpose(1, 2)
    value = v.transpose(1, 2)
    key = k.transpose(1, 2)
    ...
    q_turned, q_rest = query[..., :width], query[..., width:]
    k_turned, k_rest = key[..., :width], key[..., width:]
    q_turned, k_turned = apply_rotary_pos_emb(q_turned, k_turned, cos, sin)
    query = torch.cat((q_turned, q_rest), dim=-1)
    key = torch.cat((k_turned, k_rest), dim=-1)
    ...
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    ...
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
    ...
    output, weights = interface(self, query, key, value, mask, dropout=dropout, scaling=scaling, **kwargs)


def after_kernel__value_second(self, q, k, v, cos, sin, width, mask, cache, scaling, **kwargs):
    query = q
    value = v
    key = k
    ...
    q_turned, q_rest = query[..., :width], query[..., width:]
    k_turned, k_rest = key[..., :width], key[..., width:]
    q_turned, k_turned = apply_rotary_pos_emb(q_turned, k_turned, cos, sin, unsqueeze_dim=2)
    query = torch.cat((q_turned, q_rest), dim=-1)
    key = torch.cat((k_turned, k_rest), dim=-1)
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


def not_kernel_turned_by_heads(self, q, k, v, cos, sin, width, mask, cache, scaling, **kwargs):
    """Slices of the heads' dimension stand elsewhere in BSND."""
    query = q.transpose(1, 2)
    key = k.transpose(1, 2)
    value = v.transpose(1, 2)
    q_turned, q_rest = query[:, :width], query[:, width:]
    k_turned, k_rest = key[:, :width], key[:, width:]
    q_turned, k_turned = apply_rotary_pos_emb(q_turned, k_turned, cos, sin)
    query = torch.cat((q_turned, q_rest), dim=1)
    key = torch.cat((k_turned, k_rest), dim=1)
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
    output, weights = interface(self, query, key, value, mask, dropout=0.0, scaling=scaling, **kwargs)


def not_kernel_joined_the_other_way(self, q, k, v, cos, sin, width, mask, cache, scaling, **kwargs):
    """Keys that are joined in another order than queries are other keys."""
    query = q.transpose(1, 2)
    key = k.transpose(1, 2)
    value = v.transpose(1, 2)
    q_turned, q_rest = query[..., :width], query[..., width:]
    k_turned, k_rest = key[..., :width], key[..., width:]
    q_turned, k_turned = apply_rotary_pos_emb(q_turned, k_turned, cos, sin)
    query = torch.cat((q_turned, q_rest), dim=-1)
    key = torch.cat((k_rest, k_turned), dim=-1)
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
    output, weights = interface(self, query, key, value, mask, dropout=0.0, scaling=scaling, **kwargs)


def _runs(draw, kernels, cache_edit, mask_edit, window_edit):
    def norm(draw):
        layer = torch.nn.LayerNorm(16, dtype=draw.dtype).requires_grad_(False)
        layer.weight.copy_(draw.normal(16))
        return layer

    def step(kernel):
        return lambda self, q, k, v, cos, sin, mask, cache: kernel(
            self, q, k, v, cos, sin, 8, mask, cache, 0.25
        )["output"]

    found = []
    for kernel in kernels:
        norms = dict(q_norm=norm(draw), k_norm=norm(draw))
        for window, edit in ((None, mask_edit), (4, window_edit)):
            found.append(prefill_and_decode(draw, step(kernel), cache_edit, edit, window=window, turned=8, **norms))
    return found


def proof_before(draw):
    kernels = before_kernel, before_kernel__value_second
    return _runs(draw, kernels, before_cache, before_mask, before_mask__window)


def proof_after(draw):
    kernels = after_kernel, after_kernel__value_second
    return _runs(draw, kernels, after_cache, after_mask, after_mask__window)

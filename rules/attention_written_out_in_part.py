"""Attention of one projection written out, whose heads turn in part -> npu_fused_infer_attention_score in BSND

Why:      as `attention_written_out`: one kernel for scores, mask, softmax and values; no transposes; a cache that never
          moves. Slices and joins are of the last dimension: wherever the heads are.
Numerics: scores and softmax in fp32, where the source has them in the dtype of the states; the scale is multiplied,
          where the source divides.
Contract: torch_npu.npu_fused_infer_attention_score, as `attention` uses it: masks are True where nothing is computed,
          and change with the kernel. Attention weights never exist, and asking for them is an error.
"""

import torch
from torch import nn
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from porter.npu import torch_npu
from porter.rule import OTHER_ATTENTION_OR_ENCODER, Argument, Edit, Rule
from porter.runtime import actual_seq_lengths, kernel_mask
from porter.verify.decoding import prefill_and_decode
from rules.shared.cache_without_weights import after_cache, before_cache
from rules.shared.rotary import given_apply_rotary_pos_emb, given_rotate_half
from rules.shared.static_cache import after_mask, after_mask__window, before_mask, before_mask__window

rule = Rule(
    edits=(
        Edit(
            "kernel",
            site="attention.forward",
            unit="statements",
            answers=("kernel", "qkv"),
            private=("query", "key", "value", "q_turned", "k_turned", "q_rest", "k_rest", "attended"),
        ),
        Edit("product", site="attention._attn", unit="function"),
        Edit("merge", site="attention._merge_heads", unit="function"),
        Edit("cache", site="model.forward", unit="statements", answers=("kernel",)),
        Edit("mask", site="*", unit="expression", carried=("mask",)),
    ),
    absent=OTHER_ATTENTION_OR_ENCODER,
)


def before_kernel(self, qkv, size, width, heads, cos, sin, mask: Argument, cache: Argument, output_attentions):
    query = qkv[..., :size].permute(0, 2, 1, 3)
    key = qkv[..., size : 2 * size].permute(0, 2, 1, 3)
    value = qkv[..., 2 * size :].permute(0, 2, 1, 3)
    q_turned = query[..., :width]
    q_rest = query[..., width:]
    k_turned = key[..., :width]
    k_rest = key[..., width:]
    ...
    query, key = apply_rotary_pos_emb(q_turned, k_turned, cos, sin)
    query = torch.cat((query, q_rest), dim=-1).contiguous()
    key = torch.cat((key, k_rest), dim=-1).contiguous()
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    attended, weights = self._attn(query, key, value, mask)
    output = self._merge_heads(attended, heads, size)


def after_kernel(self, qkv, size, width, heads, cos, sin, mask, cache, output_attentions):
    query = qkv[..., :size]
    key = qkv[..., size : 2 * size]
    value = qkv[..., 2 * size :]
    q_turned = query[..., :width]
    q_rest = query[..., width:]
    k_turned = key[..., :width]
    k_rest = key[..., width:]
    ...
    query, key = apply_rotary_pos_emb(q_turned, k_turned, cos, sin, unsqueeze_dim=2)
    query = torch.cat((query, q_rest), dim=-1)
    key = torch.cat((key, k_rest), dim=-1)
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    attended, _ = torch_npu.npu_fused_infer_attention_score(
        query,
        key,
        value,
        atten_mask=kernel_mask(mask, query, cache, self.layer_idx),
        actual_seq_lengths_kv=actual_seq_lengths(cache, self.layer_idx, output_attentions=output_attentions),
        num_heads=query.shape[2],
        num_key_value_heads=key.shape[2],
        scale=1.0 / self.norm_factor,
        input_layout="BSND",
    )
    weights = None
    output = attended.flatten(2)


def before_product(self, query, key, value, mask):
    batch, heads, length, size = query.size()
    slots = key.size(-2)
    query = query.view(batch * heads, length, size)
    key = key.view(batch * heads, slots, size)
    zeros = torch.zeros(batch * heads, length, slots, dtype=query.dtype, device=key.device)
    scores = torch.baddbmm(zeros, query, key.transpose(1, 2), beta=1.0, alpha=1.0 / self.norm_factor)
    scores = scores.view(batch, heads, length, -1)
    if mask is not None:
        scores = scores + mask
    weights = nn.functional.softmax(scores, dim=-1)
    weights = self.attention_dropout(weights)
    weights = weights.to(value.dtype)
    output = torch.matmul(weights, value)
    return output, weights


def after_product(self, query, key, value, mask):
    batch, heads, length, size = query.size()
    slots = key.size(-2)
    query = query.view(batch * heads, length, size)
    key = key.view(batch * heads, slots, size)
    zeros = torch.zeros(batch * heads, length, slots, dtype=query.dtype, device=key.device)
    scores = torch.baddbmm(zeros, query, key.transpose(1, 2), beta=1.0, alpha=1.0 / self.norm_factor)
    scores = scores.view(batch, heads, length, -1)
    if mask is not None:
        scores = scores + mask
    weights = nn.functional.softmax(scores, dim=-1)
    weights = self.attention_dropout(weights)
    weights = weights.to(value.dtype)
    output = torch.matmul(weights, value)
    return output, weights


def before_merge(self, tensor, heads, size):
    tensor = tensor.permute(0, 2, 1, 3).contiguous()
    tensor = tensor.view(tensor.size(0), tensor.size(1), heads * size)
    return tensor


def after_merge(self, tensor, heads, size):
    tensor = tensor.permute(0, 2, 1, 3).contiguous()
    tensor = tensor.view(tensor.size(0), tensor.size(1), heads * size)
    return tensor


def not_product_with_a_scaled_mask(self, query, key, value, mask):
    """The kernel scales the product alone."""
    batch, heads, length, size = query.size()
    scores = torch.matmul(query, key.transpose(-1, -2))
    if mask is not None:
        scores = scores + mask
    scores = scores / self.norm_factor
    weights = nn.functional.softmax(scores, dim=-1)
    weights = self.attention_dropout(weights)
    weights = weights.to(value.dtype)
    output = torch.matmul(weights, value)
    return output, weights


def not_kernel_joined_the_other_way(self, qkv, size, width, heads, cos, sin, mask, cache, output_attentions):
    """Keys that are joined in another order than queries are other keys."""
    query = qkv[..., :size].permute(0, 2, 1, 3)
    key = qkv[..., size : 2 * size].permute(0, 2, 1, 3)
    value = qkv[..., 2 * size :].permute(0, 2, 1, 3)
    q_turned = query[..., :width]
    q_rest = query[..., width:]
    k_turned = key[..., :width]
    k_rest = key[..., width:]
    query, key = apply_rotary_pos_emb(q_turned, k_turned, cos, sin)
    query = torch.cat((query, q_rest), dim=-1).contiguous()
    key = torch.cat((k_rest, key), dim=-1).contiguous()
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    attended, weights = self._attn(query, key, value, mask)
    output = self._merge_heads(attended, heads, size)


def _runs(draw, kernel, product, merge, cache_edit, mask_edit, window_edit):
    def step(self, q, k, v, cos, sin, mask, cache):
        self.norm_factor, self.attention_dropout = 4.0, nn.Dropout(0.1).eval()
        self._attn = lambda *given: product(self, *given)
        self._merge_heads = lambda *given: merge(self, *given)
        qkv = torch.cat((q, k, v), dim=-1)
        return kernel(self, qkv, 16, 8, 4, cos, sin, mask, cache, False)["output"].unflatten(-1, (4, 16))

    def caching(self, use_cache, cache, attention_mask):
        return cache_edit(self, use_cache, cache, attention_mask, False)

    runs = []
    for window, edit in ((None, mask_edit), (4, window_edit)):
        asked = dict(window=window, key_heads=4, turned=8, implementation="eager")
        runs.append(prefill_and_decode(draw, step, caching, edit, **asked))
    return runs


def proof_before(draw):
    sides = before_kernel, before_product, before_merge
    return _runs(draw, *sides, before_cache, before_mask, before_mask__window)


def proof_after(draw):
    sides = after_kernel, after_product, after_merge
    return _runs(draw, *sides, after_cache, after_mask, after_mask__window)

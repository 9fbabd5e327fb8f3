"""Attention written out in a method, in fp32, over split heads -> npu_fused_infer_attention_score in BSND

Why:      as `attention`: one kernel for scores, mask, softmax and values; no transposes; a cache that never moves.
Numerics: scores and softmax in fp32, as in the source; the scale is multiplied, where the source divides.
Contract: torch_npu.npu_fused_infer_attention_score, as `attention` uses it: masks are True where nothing is computed,
          and change with the kernel. Attention weights never exist, and asking for them is an error.
"""

import torch
from torch import nn

from porter.npu import torch_npu
from porter.rule import OTHER_ATTENTION_OR_ENCODER, Argument, Edit, Rule
from porter.runtime import actual_seq_lengths, kernel_mask
from porter.verify.decoding import prefill_and_decode
from rules.shared.cache_without_weights import after_cache, before_cache
from rules.shared.static_cache import after_mask, after_mask__window, before_mask, before_mask__window

rule = Rule(
    edits=(
        Edit(
            "kernel",
            site="attention.forward",
            unit="statements",
            answers=("kernel",),
            private=("query", "key", "value", "attended"),
        ),
        Edit("product", site="attention._attn", unit="function"),
        Edit("split", site="attention._split_heads", unit="function"),
        Edit("merge", site="attention._merge_heads", unit="function"),
        Edit("cache", site="model.forward", unit="statements"),
        Edit("mask", site="*", unit="expression", carried=("mask",)),
    ),
    absent=OTHER_ATTENTION_OR_ENCODER,
)


def before_kernel(self, q, k, v, heads, size, mask: Argument, cache: Argument, output_attentions):
    value = self._split_heads(v, heads, size, False)
    ...
    key = k.permute(0, 2, 1, 3)
    query = q.permute(0, 2, 1, 3)
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    attended, weights = self._attn(query, key, value, mask)
    output = self._merge_heads(attended, heads, size)


def after_kernel(self, q, k, v, heads, size, mask, cache, output_attentions):
    value = v.view(*v.shape[:-1], heads, size)
    ...
    query = q
    key = k
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
        scale=1.0 / self.scale_attn,
        input_layout="BSND",
    )
    weights = None
    output = attended.flatten(2)


def before_product(self, query, key, value, mask):
    query = query.to(torch.float32)
    key = key.to(torch.float32)
    scores = torch.matmul(query, key.transpose(-1, -2))
    scores = scores / self.scale_attn
    if mask is not None:
        scores = scores + mask
    scores = nn.functional.softmax(scores, dim=-1)
    scores = scores.to(value.dtype)
    scores = self.attn_dropout(scores)
    output = torch.matmul(scores, value)
    return output, scores


def after_product(self, query, key, value, mask):
    query = query.to(torch.float32)
    key = key.to(torch.float32)
    scores = torch.matmul(query, key.transpose(-1, -2))
    scores = scores / self.scale_attn
    if mask is not None:
        scores = scores + mask
    scores = nn.functional.softmax(scores, dim=-1)
    scores = scores.to(value.dtype)
    scores = self.attn_dropout(scores)
    output = torch.matmul(scores, value)
    return output, scores


def before_split(self, tensor, heads, size, rotary, error):
    shape = tensor.size()[:-1] + (heads, size)
    tensor = tensor.view(shape)
    if rotary:
        return tensor
    if len(tensor.shape) == 5:
        return tensor.permute(0, 1, 3, 2, 4)
    elif len(tensor.shape) == 4:
        return tensor.permute(0, 2, 1, 3)
    else:
        raise error


def after_split(self, tensor, heads, size, rotary, error):
    shape = tensor.size()[:-1] + (heads, size)
    tensor = tensor.view(shape)
    if rotary:
        return tensor
    if len(tensor.shape) == 5:
        return tensor.permute(0, 1, 3, 2, 4)
    elif len(tensor.shape) == 4:
        return tensor.permute(0, 2, 1, 3)
    else:
        raise error


def before_merge(self, tensor, heads, size, error):
    if len(tensor.shape) == 5:
        tensor = tensor.permute(0, 1, 3, 2, 4).contiguous()
    elif len(tensor.shape) == 4:
        tensor = tensor.permute(0, 2, 1, 3).contiguous()
    else:
        raise error
    shape = tensor.size()[:-2] + (heads * size,)
    return tensor.view(shape)


def after_merge(self, tensor, heads, size, error):
    if len(tensor.shape) == 5:
        tensor = tensor.permute(0, 1, 3, 2, 4).contiguous()
    elif len(tensor.shape) == 4:
        tensor = tensor.permute(0, 2, 1, 3).contiguous()
    else:
        raise error
    shape = tensor.size()[:-2] + (heads * size,)
    return tensor.view(shape)


def not_product_without_scale(self, query, key, value, mask):
    """Scores of a larger scale: the kernel would be told another one."""
    query = query.to(torch.float32)
    key = key.to(torch.float32)
    scores = torch.matmul(query, key.transpose(-1, -2))
    if mask is not None:
        scores = scores + mask
    scores = nn.functional.softmax(scores, dim=-1)
    scores = scores.to(value.dtype)
    scores = self.attn_dropout(scores)
    output = torch.matmul(scores, value)
    return output, scores


def not_kernel_of_wide_queries(self, q, k, v, heads, size, mask, cache, like):
    """Queries in fp32 beside keys that are cast: see `attention_of_wide_queries`."""
    value = self._split_heads(v, heads, size, False)
    key = k.permute(0, 2, 1, 3)
    query = q.permute(0, 2, 1, 3)
    if cache is not None:
        key, value = cache.update(key.to(like.dtype), value, self.layer_idx)
    attended, weights = self._attn(query, key, value, mask)
    output = self._merge_heads(attended, heads, size)


def _runs(draw, sides, cache_edit, mask_edit, window_edit):
    kernel, product, split, merge = sides

    def step(self, q, k, v, cos, sin, mask, cache):
        self.scale_attn, self.attn_dropout = 4.0, nn.Dropout(0.1).eval()
        self._attn = lambda *given: product(self, *given)
        self._split_heads = lambda *given: split(self, *given, ValueError())
        self._merge_heads = lambda *given: merge(self, *given, ValueError())
        output = kernel(self, q, k, v.flatten(2), 4, 16, mask, cache, False)["output"]
        return output.unflatten(-1, (4, 16))

    def caching(self, use_cache, cache, attention_mask):
        return cache_edit(self, use_cache, cache, attention_mask, False)

    runs = []
    for window, edit in ((None, mask_edit), (4, window_edit)):
        asked = dict(window=window, key_heads=4, implementation="eager")
        runs.append(prefill_and_decode(draw, step, caching, edit, **asked))
    return runs


def proof_before(draw):
    sides = before_kernel, before_product, before_split, before_merge
    return _runs(draw, sides, before_cache, before_mask, before_mask__window)


def proof_after(draw):
    sides = after_kernel, after_product, after_split, after_merge
    return _runs(draw, sides, after_cache, after_mask, after_mask__window)

"""Attention whose queries come in fp32 -> the source's own products, over a static KV cache in BSND

Why:      no kernel takes such queries (`attention_of_wide_queries`), but a cache that never moves and masks as long as
          it make a decode step one fixed graph all the same; no transposes before the rotation.
Numerics: the source's own: scores, mask and softmax are its method's, in fp32. What a mask hides has a weight of 0.
Contract: PyTorch ops alone. Masks are True where nothing is computed, and become the additive ones of the method, as
          long as the cache. In eager, slots that hold no token are not read. Asking for attention weights is an error.
"""

import torch
from torch import nn

from porter.rule import OTHER_ATTENTION_OR_ENCODER, Argument, Edit, Rule
from porter.runtime import actual_seq_lengths, kernel_mask
from porter.verify.decoding import prefill_and_decode
from rules.shared.cache_without_weights import after_cache, before_cache
from rules.shared.static_cache import after_mask, after_mask__window, before_mask, before_mask__window
from rules.shared.wide_product import after_product, before_product

rule = Rule(
    edits=(
        Edit(
            "kernel",
            site="attention.forward",
            unit="statements",
            answers=("kernel",),
            private=("query", "key", "value"),
        ),
        Edit("product", site="attention._attn", unit="function"),
        Edit("cache", site="model.forward", unit="statements"),
        Edit("mask", site="*", unit="expression", carried=("mask",)),
    ),
    absent=OTHER_ATTENTION_OR_ENCODER,
)


def before_kernel(self, q, k, v, mask: Argument, cache: Argument, like, output_attentions):
    value = v.permute(0, 2, 1, 3)
    ...
    key = k.permute(0, 2, 1, 3)
    query = q.permute(0, 2, 1, 3)
    if cache is not None:
        key, value = cache.update(key.to(like.dtype), value, self.layer_idx)
    attended, weights = self._attn(query, key, value, mask)


def after_kernel(self, q, k, v, mask, cache, like, output_attentions):
    value = v
    ...
    key = k
    query = q
    if cache is not None:
        key, value = cache.update(key.to(like.dtype), value, self.layer_idx)
    masked = kernel_mask(mask, query, cache, self.layer_idx)
    lengths = actual_seq_lengths(cache, self.layer_idx, output_attentions=output_attentions)
    if lengths is not None:
        key, value = key[:, : lengths[0]], value[:, : lengths[0]]
    if masked is not None:
        hidden = masked[..., : key.shape[1]]
        masked = value.new_zeros(hidden.shape).masked_fill(hidden, torch.finfo(value.dtype).min)
    attended, weights = self._attn(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), masked)


def not_kernel_with_keys_in_fp32(self, q, k, v, mask, cache, like, output_attentions):
    """A cache of another dtype than its values'."""
    value = v.permute(0, 2, 1, 3)
    key = k.permute(0, 2, 1, 3)
    query = q.permute(0, 2, 1, 3)
    if cache is not None:
        key, value = cache.update(key, value, self.layer_idx)
    attended, weights = self._attn(query, key, value, mask)


def not_product_masked_behind_the_scale(self, query, key, value, mask):
    """A mask that the scale does not divide is `attention_written_out`'s."""
    query = query.to(torch.float32)
    key = key.to(torch.float32)
    scores = torch.matmul(query, key.transpose(-1, -2))
    scores = scores / self.scale_attn
    if mask is not None:
        scores = scores + mask
    scores = nn.Softmax(dim=-1)(scores)
    scores = scores.to(value.dtype)
    scores = self.attn_dropout(scores)
    output = torch.matmul(scores, value)
    return output, scores


def _runs(draw, kernel, product, cache_edit, mask_edit, window_edit):
    def step(self, q, k, v, cos, sin, mask, cache):
        self.scale_attn, self.attn_dropout = 4.0, nn.Dropout(0.1).eval()
        self._attn = lambda *given: product(self, *given)
        turn = torch.tensor(0.7071, dtype=torch.float32)
        wide = q.to(torch.float32) * turn
        return kernel(self, wide, k.to(torch.float32) * turn, v, mask, cache, v, False)["attended"].transpose(1, 2)

    def caching(self, use_cache, cache, attention_mask):
        return cache_edit(self, use_cache, cache, attention_mask, False)

    masks = (None, mask_edit), (4, window_edit)
    return [
        prefill_and_decode(draw, step, caching, edit, window=window, key_heads=4, implementation="eager")
        for window, edit in masks
    ]


def proof_before(draw):
    return _runs(draw, before_kernel, before_product, before_cache, before_mask, before_mask__window)


def proof_after(draw):
    return _runs(draw, after_kernel, after_product, after_cache, after_mask, after_mask__window)

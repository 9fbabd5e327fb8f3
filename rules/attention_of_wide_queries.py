"""Attention whose queries come in fp32, turned by tables in fp32 -> as it is: rounded for the kernel it is not exact

Why:      the kernel takes one dtype of 16 bits. The source turns its heads in fp32, casts the keys alone, for the
          cache, and multiplies the queries as they are: rounding them first is an error more than the source's.
Numerics: the source's own.
Contract: none. The products stay the source's; their cache and masks are those of
          `attention_of_wide_queries_over_slots`.
"""

import torch
from torch import nn

from porter.npu import torch_npu
from porter.rule import Edit, Rule
from rules.shared.wide_product import before_product

rule = Rule(
    edits=(
        Edit("kernel", site="attention.forward", unit="statements", answers=("kernel",)),
        Edit("product", site="attention._attn", unit="function"),
    ),
)


def before_kernel(self, k, q, v, mask, cache, like):
    """queries in fp32, which no kernel takes; rounded before they are multiplied they are not the source's"""
    key = k.permute(0, 2, 1, 3)
    query = q.permute(0, 2, 1, 3)
    if cache is not None:
        key, value = cache.update(key.to(like.dtype), v, self.layer_idx)
    attended, weights = self._attn(query, key, value, mask)


def not_product_in_16_bits(self, query, key, value, mask):
    """Scores of 16 bits are the kernel's."""
    scores = torch.matmul(query, key.transpose(-1, -2))
    if mask is not None:
        scores = scores + mask
    scores = scores / self.scale_attn
    scores = nn.Softmax(dim=-1)(scores)
    output = torch.matmul(scores, value)
    return output, scores


def _turned(draw):
    """Queries, keys and values (2, 7, 4, 16) as such a model has them: turned in fp32, and the keys then cast.

    The queries are large enough for scores of several units, as trained heads have: what rounding them does to small
    scores drowns in the roundings of the probabilities.
    """
    q, k, v = draw.normal(2, 7, 4, 16, scale=8.0), draw.normal(2, 7, 4, 16), draw.normal(2, 7, 4, 16)
    turn = torch.tensor(0.7071, dtype=torch.float32)
    return q.to(torch.float32) * turn, (k.to(torch.float32) * turn).to(v.dtype), v


def proof_before(draw):
    q, k, v = _turned(draw)
    self = draw.module(scale_attn=4.0, attn_dropout=nn.Dropout(0.1).eval())
    query, key, value = (states.transpose(1, 2) for states in (q, k, v))
    return before_product(self, query, key, value, None)[0].transpose(1, 2)


def proof_after(draw):
    q, k, v = _turned(draw)
    rounded = q.to(v.dtype)
    return torch_npu.npu_fused_infer_attention_score(rounded, k, v, num_heads=4, scale=0.25, input_layout="BSND")[0]

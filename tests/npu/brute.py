"""npu_fused_infer_attention_score beside softmax written out, a row of a head at a time."""

import math

import torch

from porter.npu import torch_npu
from tests.error_rule import no_further

BATCH, HEADS, KV_HEADS, SIZE = 2, 4, 2, 16
SCALE = 1 / math.sqrt(SIZE)
CAUSAL_2048 = torch.ones(2048, 2048, dtype=torch.bool).triu(1)
attention = torch_npu.npu_fused_infer_attention_score


def draw(length, kv_length, dtype=torch.float32, batch=BATCH, kv_heads=KV_HEADS, size=SIZE):
    """q, k, v in (B, S, N, D)."""
    q = torch.randn(batch, length, HEADS, size).to(dtype)
    k, v = (torch.randn(batch, kv_length, kv_heads, size).to(dtype) for _ in range(2))
    return q, k, v


def brute(q, k, v, hidden, scale=SCALE):
    """One query row of one head at a time, in q's dtype; hidden (B, Q, KV): True = not computed. Returns out, lse."""
    out = torch.zeros(*q.shape[:3], v.shape[-1], dtype=q.dtype)
    lse = torch.full((q.shape[0], q.shape[2], q.shape[1], 1), float("-inf"), dtype=q.dtype)
    group = q.shape[2] // k.shape[2]
    for b in range(q.shape[0]):
        for i in range(q.shape[1]):
            seen = (~hidden[b, i]).nonzero()[:, 0]
            for n in range(q.shape[2] if len(seen) else 0):
                scores = (k[b, seen, n // group] @ q[b, i, n]) * scale
                out[b, i, n] = torch.softmax(scores, 0) @ v[b, seen, n // group]
                lse[b, n, i, 0] = torch.logsumexp(scores, 0)
    return out, lse


def run(q, k, v, **options):
    options = {"num_heads": q.shape[2], "num_key_value_heads": k.shape[2], "scale": SCALE} | options
    return attention(q, k, v, input_layout="BSND", **options)


def check(q, k, v, hidden, **options):
    compare(run(q, k, v, softmax_lse_flag=True, **options), q, k, v, hidden)


def compare(results, q, k, v, hidden, scale=SCALE):
    """(out, lse) of q, k, v against attention written out: by the error rule, zeros and -inf where no key is seen."""
    wide = brute(q.double(), k.double(), v.double(), hidden, scale)
    for found, eager, truth in zip(results, brute(q, k, v, hidden, scale), wide, strict=True):
        unseen = truth.isneginf() | (truth == 0)
        assert torch.equal(found[unseen].double(), truth[unseen])
        no_further(found[~unseen], eager[~unseen], truth[~unseen], roundings(q, k))


def roundings(q, k):
    """A score is a sum of D products, scaled; its exponential and the sums over the keys add a few."""
    return q.shape[-1] + k.shape[1] + 8


def see_all(length, kv_length, batch=BATCH):
    return torch.zeros(batch, length, kv_length, dtype=torch.bool)


def band(length, kv_length, before, after, corner):
    i, j = torch.arange(length)[:, None], torch.arange(kv_length)
    shift = kv_length - length if corner == "lower right" else 0
    return ((j > i + shift + after) | (j < i + shift - before)).expand(BATCH, length, kv_length)


FAR = 2147483647

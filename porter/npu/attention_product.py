"""The arithmetic of attention, heads first: softmax(scale * q @ k.T + shift, masked) @ v, with grouped heads.

q (B, N, Q, D), k and v (B, KV_N, KV, D); keep (1 or B, 1, Q, KV) bool, True = computed, None where each query sees all;
shift (1 or B, N, Q, KV) or None. No key is repeated for the heads that share it.
"""

from __future__ import annotations

import torch

_sdpa = torch.nn.functional.scaled_dot_product_attention


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, keep: torch.Tensor | None, scale: float) -> torch.Tensor:
    """(B, N, Q, D of v), q's dtype."""
    batch, heads, length, size = q.shape
    groups = k.shape[1]
    if length == 1:
        q = q.reshape(batch, groups, heads // groups, size)
        return attend_once(q, k, v, keep, scale).reshape(batch, heads, 1, v.shape[-1])
    return _sdpa(q, k, v, attn_mask=keep, scale=scale, enable_gqa=heads != groups)


def attend_shifted(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, keep: torch.Tensor | None, scale: float, shift: torch.Tensor
) -> torch.Tensor:
    """`attend` with a shift of the scaled scores: in float32, for in 16 bits the sum of both would be rounded."""
    shift = shift.float()
    if keep is not None:
        shift = shift.masked_fill(~keep, float("-inf"))
    out = _sdpa(q.float(), k.float(), v.float(), attn_mask=shift, scale=scale, enable_gqa=q.shape[1] != k.shape[1])
    return out.to(q.dtype)


def attend_once(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, keep: torch.Tensor | None, scale: float
) -> torch.Tensor:
    """One query position, q (B, KV_N, N / KV_N, D): the heads of a group are rows of one product, and read the cache
    once. (B, KV_N, N / KV_N, D of v)."""
    if q.dtype is not torch.float32 and q.shape[2] == 1 and q.is_cpu:  # 16-bit attention is several times slower there
        return _sdpa(q.float(), k.float(), v.float(), attn_mask=keep, scale=scale).to(q.dtype)
    return _sdpa(q, k, v, attn_mask=keep, scale=scale)


def attend_once_summed(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, keep: torch.Tensor | None, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """`attend` for one query position in float32 and its `log_sum_exp`, both of the same scores: (B, N, 1, D of v) and
    (B, N, 1, 1). A row that sees nothing is zeros with -inf."""
    batch, heads, _, size = q.shape
    scores = _scores(q.reshape(batch, k.shape[1], heads // k.shape[1], size), k, scale)
    if keep is not None:
        scores = scores.masked_fill(~keep, float("-inf"))
    largest = scores.amax(-1, keepdim=True)
    largest = largest.masked_fill(largest == float("-inf"), 0.0)
    parts = (scores - largest).exp()
    total = parts.sum(-1, keepdim=True)
    out = (parts @ v) / total.masked_fill(total == 0.0, 1.0)
    return out.reshape(batch, heads, 1, v.shape[-1]), (total.log() + largest).reshape(batch, heads, 1, 1)


def attend_causally(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float) -> torch.Tensor:
    """`attend` where each query sees itself and all before it, Q = KV: half the work, and what is not seen is not read,
    so an inf or NaN there does no harm."""
    return _sdpa(q, k, v, is_causal=True, scale=scale, enable_gqa=q.shape[1] != k.shape[1])


def log_sum_exp(
    q: torch.Tensor, k: torch.Tensor, keep: torch.Tensor | None, scale: float, shift: torch.Tensor | None = None
) -> torch.Tensor:
    """Of the scaled and shifted scores: (B, N, Q, 1) float32."""
    batch, heads, length, _ = q.shape
    grouped = q.float().reshape(batch, k.shape[1], -1, q.shape[-1])
    scores = _scores(grouped, k.float(), scale).reshape(batch, heads, length, -1)
    if shift is not None:
        scores = scores + shift
    if keep is not None:
        scores = scores.masked_fill(~keep, float("-inf"))
    return scores.logsumexp(-1, keepdim=True)


def _scores(grouped: torch.Tensor, k: torch.Tensor, scale: float) -> torch.Tensor:
    """grouped (B, KV_N, rows, D): (B, KV_N, rows, KV)."""
    return (grouped @ k.transpose(-1, -2)) * scale

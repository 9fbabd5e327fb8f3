"""The arithmetic of attention, heads first: softmax(scale * q @ k.T, masked) @ v, with grouped heads.

q (B, N, Q, D), k and v (B, KV_N, KV, D); keep (1 or B, 1, Q, KV) bool, True = computed, None where each query sees all.
No key is repeated for the heads that share it.
"""

from __future__ import annotations

import torch

from porter.npu.direct import is_plain

_sdpa = torch.nn.functional.scaled_dot_product_attention
_KEPT = 4096  # positions: 16 MiB
_triangle = torch.ones(0, 0, dtype=torch.bool, device="cpu")


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, keep: torch.Tensor | None, scale: float) -> torch.Tensor:
    """(B, N, Q, D of v), q's dtype."""
    batch, heads, length, size = q.shape
    groups = k.shape[1]
    if length == 1:  # the heads of a group become rows of one product, and read the cache once
        q = q.reshape(batch, groups, heads // groups, size)
        narrow = heads == groups and q.dtype != torch.float32
        if narrow and q.is_cpu:  # several times quicker than 16-bit attention on a CPU
            out = _sdpa(q.float(), k.float(), v.float(), attn_mask=keep, scale=scale).to(q.dtype)
        else:
            out = _sdpa(q, k, v, attn_mask=keep, scale=scale)
        return out.reshape(batch, heads, 1, v.shape[-1])
    if keep is not None and _is_causal(keep):  # half the work, and what a prompt without padding asks for
        return _sdpa(q, k, v, is_causal=True, scale=scale, enable_gqa=heads != groups)
    return _sdpa(q, k, v, attn_mask=keep, scale=scale, enable_gqa=heads != groups)


def log_sum_exp(q: torch.Tensor, k: torch.Tensor, keep: torch.Tensor | None, scale: float) -> torch.Tensor:
    """Of the scaled scores: (B, N, Q, 1) float32."""
    batch, heads, length, _ = q.shape
    grouped = q.float().reshape(batch, k.shape[1], -1, q.shape[-1])
    scores = (grouped @ k.float().transpose(-1, -2)).reshape(batch, heads, length, -1) * scale
    if keep is not None:
        scores = scores.masked_fill(~keep, float("-inf"))
    return scores.logsumexp(-1, keepdim=True)


def _is_causal(keep: torch.Tensor) -> bool:
    """Each query sees itself and all before it. Of a mask that is traced nobody knows, and its sizes are not asked."""
    if not is_plain(keep) or keep.shape[2] != keep.shape[3]:
        return False
    return torch.equal(keep, _lower(keep.shape[2]).expand_as(keep))


def _lower(length: int) -> torch.Tensor:
    """(Q, Q) bool, ones on and below the diagonal; made once for all layers of a prefill, unless it is large."""
    global _triangle
    lower = _triangle
    if lower.shape[0] != length:
        lower = torch.ones(length, length, dtype=torch.bool, device="cpu").tril()
        if length <= _KEPT:
            _triangle = lower
    return lower

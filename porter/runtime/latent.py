"""Attention over a cache of latents (MLA): expanded for one kernel, or, of one new token, absorbed.

Contract: BSND. npu_fused_infer_attention_score has one width for queries, keys and values; zeros beside a query and a
key add nothing to their product, and zeros beside a value come out as zeros. Expanded, every slot of the cache goes
through the projection, in each step. Absorbed, the projection goes to the query and to what comes out, and the latents
are read as they are. Both are the same sums. The op has an absorbed form too, for the widths of DeepSeek, which takes
no mask: it computes rows that see all that was written, as in eager decode without padding on the left.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

try:
    import torch_npu
except ImportError:  # no NPU stack here: the same ops, computed on the CPU
    from porter.npu import torch_npu

from porter.runtime.products import BlockedLinear

_LATENT, _ROPE, _HEADS = 512, 64, (1, 2, 4, 8, 16, 32, 64, 128)  # what the op's absorbed form is documented for


def at_one_width(*states: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """States (B, S, N, D), each filled up with zeros to the widest D."""
    width = max(tensor.shape[-1] for tensor in states)
    return tuple(_filled(tensor, width) for tensor in states)


def absorbs(query: torch.Tensor, projection: nn.Module) -> bool:
    """Whether `projection`, from latents to keys and values, may be absorbed for query (B, Q, N, D): one token, and
    nothing but a product. Adapters, hooks, quantized or divided weights expand."""
    return (
        query.shape[1] == 1
        and type(projection) in (nn.Linear, BlockedLinear)
        and projection.bias is None
        and not (projection._forward_hooks or projection._forward_pre_hooks or "forward" in projection.__dict__)
        and projection.weight.dtype == query.dtype
        and projection.weight.device == query.device
    )


def absorbed_attention(
    query: torch.Tensor,
    latent: torch.Tensor,
    rope: torch.Tensor,
    weight: torch.Tensor,
    *,
    atten_mask: torch.Tensor | None,
    actual_seq_lengths_kv: Sequence[int] | None,
    scale: float,
) -> torch.Tensor:
    """Attention of one new token, (B, 1, N, D of the values), scores and softmax in fp32.

    query (B, 1, N, D + R), its part that turns last; latent (B, KV, 1, C) and rope (B, KV, 1, R), one for all heads;
    weight (N * (D + D of the values), C), a head's rows for keys before those for values. Mask and lengths as
    npu_fused_infer_attention_score takes them: (B, 1, 1, KV) bool, True = not computed; equal lengths.
    """
    rows = weight.view(query.shape[2], -1, latent.shape[-1])  # (N, D + D of the values, C)
    q_pass, q_rot = query.split([query.shape[-1] - rope.shape[-1], rope.shape[-1]], dim=-1)
    # Zeros where the rows of the values are: cutting the weight would copy it in every step.
    filled = _filled(q_pass.flatten(1, 2), rows.shape[1]).transpose(0, 1)
    absorbed = torch.bmm(filled, rows).transpose(0, 1).unsqueeze(1)  # (B, 1, N, C)
    sizes = latent.shape[-1], rope.shape[-1]
    if atten_mask is None and sizes == (_LATENT, _ROPE) and len(rows) in _HEADS:
        attended = _in_one_kernel(absorbed, q_rot, latent, rope, actual_seq_lengths_kv, scale)
    else:
        attended = _written_out(absorbed, q_rot, latent, rope, atten_mask, actual_seq_lengths_kv, scale)
    values = torch.bmm(attended.flatten(1, 2).transpose(0, 1), rows.transpose(1, 2))  # (N, B, D + D of the values)
    return values[..., q_pass.shape[-1] :].transpose(0, 1).unsqueeze(1)


def _in_one_kernel(
    query: torch.Tensor,
    query_rope: torch.Tensor,
    latent: torch.Tensor,
    rope: torch.Tensor,
    actual_seq_lengths_kv: Sequence[int] | None,
    scale: float,
) -> torch.Tensor:
    attended, _ = torch_npu.npu_fused_infer_attention_score(
        query.contiguous(),
        latent,
        latent,
        query_rope=query_rope.contiguous(),
        key_rope=rope,
        actual_seq_lengths_kv=actual_seq_lengths_kv,
        num_heads=query.shape[2],
        num_key_value_heads=1,
        scale=scale,
        input_layout="BSND",
    )
    return attended


def _written_out(
    query: torch.Tensor,
    query_rope: torch.Tensor,
    latent: torch.Tensor,
    rope: torch.Tensor,
    atten_mask: torch.Tensor | None,
    actual_seq_lengths_kv: Sequence[int] | None,
    scale: float,
) -> torch.Tensor:
    if actual_seq_lengths_kv is not None:  # what lies behind is never read
        seen = actual_seq_lengths_kv[0]
        latent, rope = latent[:, :seen], rope[:, :seen]
    keys = torch.cat((latent, rope), dim=-1).flatten(1, 2).float()  # (B, KV, C + R)
    scores = torch.cat((query, query_rope), dim=-1).flatten(1, 2).float() @ keys.transpose(1, 2) * scale  # (B, N, KV)
    if atten_mask is not None:
        scores = scores.masked_fill(atten_mask.flatten(1, 2)[..., : keys.shape[1]], float("-inf"))
    attended = torch.softmax(scores, dim=-1) @ keys  # (B, N, C + R)
    return attended[..., : latent.shape[-1]].to(query.dtype).unsqueeze(1)


def _filled(states: torch.Tensor, width: int) -> torch.Tensor:
    missing = width - states.shape[-1]
    return nn.functional.pad(states, (0, missing)) if missing else states

"""Attention as a decoder asks for it in every layer at every step, by the shortest way: BSND, rows equally long, no
sparse mode."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from porter.npu.attention_contract import read
from porter.npu.attention_product import attend, attend_causally, attend_once
from porter.npu.direct import is_plain
from porter.npu.once import once_a_signature

_KEPT = 4096  # positions: 16 MiB
_triangle = b""


def step(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    lengths: Sequence[int] | None,
    num_heads: int,
    num_key_value_heads: int,
    scale: float,
) -> torch.Tensor | None:
    """(B, S, N, D); None for what it leaves to the general way: other masks than 4-D bool ones, and rows that are not
    equally long. Raises ContractError as the op does."""
    _check(query, key, value, mask, lengths, num_heads, num_key_value_heads, scale)
    batch, length, heads, size = query.shape
    end = key.shape[1] if lengths is None else _one_length(lengths, batch, key.shape[1])
    if end == 0 or (mask is not None and (mask.dtype is not torch.bool or mask.dim() != 4)):
        return None
    masked = None if mask is None else mask.narrow(2, 0, length).narrow(3, 0, end)
    k, v = _heads_first(key, end), _heads_first(value, end)
    if length == 1:
        grouped = query.reshape(batch, k.shape[1], heads // k.shape[1], size)
        keep = None if masked is None else masked.logical_not()
        return attend_once(grouped, k, v, keep, scale).reshape(batch, 1, heads, v.shape[3])
    q = query.transpose(1, 2)
    if masked is None:
        out = attend(q, k, v, None, scale)
    elif is_plain(masked) and is_causal(masked):
        out = attend_causally(q, k, v, scale)
    else:
        out = attend(q, k, v, masked.logical_not(), scale)
    return out.transpose(1, 2).contiguous()


@once_a_signature
def _check(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    lengths: Sequence[int] | None,
    num_heads: int,
    num_key_value_heads: int,
    scale: float,
) -> None:
    read(
        query,
        key,
        value,
        atten_mask=mask,
        actual_seq_lengths_kv=lengths,
        num_heads=num_heads,
        num_key_value_heads=num_key_value_heads,
        scale=scale,
        input_layout="BSND",
    )


def _one_length(lengths: Sequence[int], batch: int, slots: int) -> int:
    """The KV length of all rows; 0 where there is no such one."""
    if type(lengths) is not list or len(lengths) not in (1, batch):
        return 0
    end = lengths[0]
    return end if 0 < end <= slots and lengths.count(end) == len(lengths) else 0


def _heads_first(states: torch.Tensor, end: int) -> torch.Tensor:
    """The first `end` positions of (B, S, N, D), as (B, N, end, D): in one view, at half the cost of two."""
    batch, _, heads, size = states.shape
    of_batch, of_position, of_head, of_size = states.stride()
    return states.as_strided((batch, heads, end, size), (of_batch, of_head, of_position, of_size))


def is_causal(masked: torch.Tensor) -> bool:
    """Whether a plain mask (B, 1, Q, KV) bool, True = not computed, lets each query see itself and all before it.

    Compared as bytes, which takes a tenth of what torch takes for elements; up to the first row that differs.
    """
    length = masked.shape[2]
    if length != masked.shape[3]:
        return False
    upper = _upper(length)
    return all(row.tobytes() == upper for row in masked[:, 0].numpy())


def _upper(length: int) -> bytes:
    """(Q, Q) bytes, 1 above the diagonal; made once for all layers of a prefill, unless it is large."""
    global _triangle
    upper = _triangle
    if len(upper) != length * length:
        upper = np.triu(np.ones((length, length), dtype=np.bool_), 1).tobytes()
        if length <= _KEPT:
            _triangle = upper
    return upper

"""Which positions attention reads: where each sequence lies in its row, which keys each query sees, how shifted."""

from collections.abc import Sequence
from typing import TypeAlias

import torch

from porter.npu.attention_contract import BAND, LEFT_UP_CAUSAL, NO_LIMIT, OP, Call
from porter.npu.contract import ContractError

Span: TypeAlias = tuple[int, int]  # begin, end


def check_polarity(call: Call) -> None:
    """The documentation says "lower triangle" and means what is computed: the ones are above the diagonal."""
    if call.atten_mask is None or call.takes_full_mask:
        return
    corner = call.atten_mask[..., :2, :2].flatten().tolist()
    if corner != [0, 1, 0, 0]:
        limit = f"must be triu(ones(2048, 2048), 1), 1 = not computed, with sparse_mode {call.sparse_mode}"
        raise ContractError(OP, "atten_mask", limit, f"{corner} in its upper left corner")


def spans(call: Call, batch: int, length: int, kv_length: int) -> list[tuple[Span, Span]]:
    """For each batch row, where its sequence lies: in query, and in key and value. One entry where all rows agree."""
    lengths = None if call.decodes else call.actual_seq_lengths
    query = _row_spans("actual_seq_lengths", lengths, call.query_padding_size, batch, length, False)
    kv_lengths = call.actual_seq_lengths_kv
    kv = _row_spans("actual_seq_lengths_kv", kv_lengths, call.kv_padding_size, batch, kv_length, call.decodes)
    if len(query) == len(kv):
        return list(zip(query, kv, strict=True))
    return [(row, kv[0]) for row in query] if len(kv) == 1 else [(query[0], row) for row in kv]


def ragged_spans(call: Call) -> list[tuple[Span, Span]]:
    """The same for TND, where lengths are cumulative."""
    query = _cumulative_spans("actual_seq_lengths", call.actual_seq_lengths or (), len(call.query))
    kv = _cumulative_spans("actual_seq_lengths_kv", call.actual_seq_lengths_kv or (), len(call.key))
    return list(zip(query, kv, strict=True))


def _cumulative_spans(argument: str, lengths: Sequence[int], total: int) -> list[Span]:
    begins, ends = [0, *lengths[:-1]], list(lengths)
    if any(begin > end for begin, end in zip(begins, ends, strict=True)) or ends[-1] > total:
        raise ContractError(OP, argument, f"must be cumulative, up to {total}, in layout TND", ends)
    return list(zip(begins, ends, strict=True))


def _row_spans(
    argument: str, lengths: Sequence[int] | None, padding: torch.Tensor | None, batch: int, size: int, lenient: bool
) -> list[Span]:
    """One span for each row, or a single one for all."""
    if lengths is None:  # then a padding size has no effect either
        return [(0, size)]
    if len(lengths) != 1 and len(lengths) < batch:
        raise ContractError(OP, argument, f"must have 1 or {batch} entries", len(lengths))
    lengths = list(lengths) if len(lengths) == 1 else list(lengths[:batch])
    if lengths.count(lengths[0]) == len(lengths):
        lengths = lengths[:1]
    if min(lengths) < 0 or max(lengths) > size:
        raise ContractError(OP, argument, f"must be between 0 and {size}", lengths)
    if padding is None:
        return [(0, length) for length in lengths]
    end = size - max(int(padding.reshape(-1)[0]), 0)
    placed = [(end - length, end) for length in lengths]
    if min(begin for begin, _ in placed) >= 0:
        return placed
    if not lenient:
        raise ContractError(OP, argument, f"must leave begin = {end} - length at 0 or more", lengths)
    return [span if span[0] >= 0 else (0, 0) for span in placed]  # the device's decode path answers zeros


def kept(call: Call, rows: slice, at: Span, kv_at: Span, device: torch.device) -> torch.Tensor | None:
    """Which keys each query sees, True = computed, (1 or B, 1, Q, KV); None where it sees them all."""
    full = _full_mask(call)
    keep = None
    if full is not None:
        picked = full[rows] if len(full) > 1 else full
        picked = picked[:, :, at[0] : at[1], kv_at[0] : kv_at[1]]
        keep = ~picked if picked.dtype == torch.bool else picked == 0
    if call.decodes:
        return keep
    near = band(call, at[1] - at[0], kv_at[1] - kv_at[0], device)
    if keep is None or near is None:
        return keep if near is None else near
    return keep & near


def shift_at(call: Call, rows: slice, at: Span, kv_at: Span) -> torch.Tensor | None:
    """What is added to the scores of these positions, (1 or B, N, Q, KV)."""
    if call.pse_shift is None:
        return None
    picked = call.pse_shift[rows] if len(call.pse_shift) > 1 else call.pse_shift
    return picked[:, :, at[0] : at[1], kv_at[0] : kv_at[1]]


def _full_mask(call: Call) -> torch.Tensor | None:
    mask = call.atten_mask
    if mask is None or not call.takes_full_mask:
        return None
    if mask.dim() == 4:
        return mask
    if mask.dim() == 3:
        return mask[:, None]
    return mask[:, None, None] if call.decodes else mask[None, None]


def band(call: Call, length: int, kv_length: int, device: torch.device) -> torch.Tensor | None:
    """Query i sees the keys from i - before to i + after, both counted from the sequence's own begin."""
    shift = kv_length - length  # from the upper left corner to the lower right one
    if call.sparse_mode == 0:
        if call.atten_mask is None or call.query_padding_size is not None or call.kv_padding_size is not None:
            return None
        before, after = call.pre_tokens, call.next_tokens
    elif call.sparse_mode == 1:
        return None
    elif call.sparse_mode == BAND:
        before, after = call.pre_tokens - shift, call.next_tokens + shift
    else:
        before, after = NO_LIMIT, 0 if call.sparse_mode == LEFT_UP_CAUSAL else shift
    if before >= length - 1 and after >= kv_length - 1:
        return None
    distance = torch.arange(kv_length, device=device) - torch.arange(length, device=device)[:, None]
    return ((distance >= -before) & (distance <= after))[None, None]

"""Prompts of unequal length as one batch: left padding, and padding to a maximum input length.

Contract: padding stands on the left, so the last column is every sequence's last token and a batch decodes in step.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch


def left_pad(
    sequences: Sequence[Sequence[int]], pad_token_id: int, length: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """input_ids and attention_mask, (B, S) int64 each, mask 1 = token; S is `length`, or the longest sequence's.

    Raises ValueError for an empty batch, an empty sequence, or one longer than `length`.
    """
    if not sequences:
        raise ValueError("no sequences to pad")
    longest = max(len(sequence) for sequence in sequences)
    width = longest if length is None else length
    for row, sequence in enumerate(sequences):
        if not len(sequence):
            raise ValueError(f"sequence {row} is empty: a model continues from at least one token")
        if len(sequence) > width:
            raise ValueError(f"sequence {row} has {len(sequence)} tokens, more than the input length {width}")
    input_ids = torch.full((len(sequences), width), pad_token_id, dtype=torch.int64)
    attention_mask = torch.zeros((len(sequences), width), dtype=torch.int64)
    for row, sequence in enumerate(sequences):
        input_ids[row, width - len(sequence) :] = torch.as_tensor(sequence, dtype=torch.int64)
        attention_mask[row, width - len(sequence) :] = 1
    return input_ids, attention_mask


def position_ids_from_mask(attention_mask: torch.Tensor) -> torch.Tensor:
    """(B, S) int64 positions that count tokens only; padding gets 0, as generate() has it."""
    return (attention_mask.long().cumsum(-1) - 1).masked_fill(attention_mask == 0, 0)

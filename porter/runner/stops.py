"""Where each row of a batch stops.

Contract: a row's answer ends with the first token that is a stop token or completes a stop string, and with nothing
else; what stands behind it in the batch is not the row's. Waits for the device only when asked for the lengths.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from transformers import StoppingCriteria, StopStringCriteria


class RowStops(StoppingCriteria):
    """Stops rows at `strings`, and notes for every row the number of new tokens at its end.

    prompt_length counts the columns of the prompts, padding included. Stop tokens are transformers' own criterion to
    act on; here they are only noted.
    """

    def __init__(self, prompt_length: int, tokens: Collection[int], strings: StopStringCriteria | None = None) -> None:
        self.prompt_length = prompt_length
        self.tokens = sorted(tokens)
        self.strings = strings
        self._ends: torch.Tensor | None = None  # (B,) int64 on the device, 0 while a row goes on

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        last = input_ids[:, -1]
        stopped = torch.zeros_like(last, dtype=torch.bool)
        if self.strings is not None:
            stopped = self.strings(input_ids, scores)
        ended = stopped | torch.isin(last, torch.tensor(self.tokens, dtype=last.dtype, device=last.device))
        if self._ends is None:
            self._ends = torch.zeros_like(last)
        self._ends = torch.where((self._ends == 0) & ended, input_ids.shape[1] - self.prompt_length, self._ends)
        return stopped

    def ends(self) -> list[int | None]:
        """New tokens of each row up to and with the one that stopped it; None for a row that has not stopped."""
        return [] if self._ends is None else [end or None for end in self._ends.tolist()]

    def cut(self, tokens: torch.Tensor) -> list[list[int]]:
        """New tokens (B, steps) -> those of each row."""
        rows = tokens.tolist()
        return [row[:end] for row, end in zip(rows, self.ends() or [None] * len(rows), strict=True)]


def stops_for(tokenizer: Any, length: int, tokens: int | Collection[int] | None, strings: Any) -> RowStops:
    """Of prompts of `length` columns: at these tokens, and at these strings if there are any."""
    criterion = StopStringCriteria(tokenizer, strings) if strings else None
    return RowStops(length, {tokens} if isinstance(tokens, int) else set(tokens or ()), criterion)

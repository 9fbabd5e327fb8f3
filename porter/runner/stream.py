"""Text of a batch while it is generated.

Contract: the pieces of a row, joined, are the text of its whole answer; a piece never holds half a character. Rows are
told apart by their index; `Printer` shows them one after the other, each as it comes once those before it have ended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers.generation.streamers import BaseStreamer

from porter.runner.stops import RowStops

_INCOMPLETE = "\ufffd"


class TextStream(BaseStreamer):
    """Decodes the tokens of each step; calls `emit(row, piece)`, and `emit(row, None)` when the row has ended."""

    def __init__(self, tokenizer: Any, rows: int, stops: RowStops, emit: Callable[[int, str | None], None]) -> None:
        self.rows = [_Row(tokenizer) for _ in range(rows)]
        self.stops, self.emit = stops, emit
        self.prompt_seen = False

    def put(self, value: torch.Tensor) -> None:
        """The prompts (B, S) first, which are not answers, then the tokens (B,) of each step."""
        if not self.prompt_seen:
            self.prompt_seen = True
            return
        ends = self.stops.ends() or [None] * len(self.rows)
        for index, (row, token, end) in enumerate(zip(self.rows, value.tolist(), ends, strict=True)):
            # of the step that ends a row transformers may tell the criteria first, or the streamer
            if end is None or len(row.tokens) < end:
                self._say(index, row.push(token))
            if end is not None and len(row.tokens) >= end:
                self._finish(index)

    def end(self) -> None:
        for index in range(len(self.rows)):
            self._finish(index)

    def _say(self, index: int, piece: str) -> None:
        if piece:
            self.emit(index, piece)

    def _finish(self, index: int) -> None:
        row = self.rows[index]
        if not row.ended:
            row.ended = True
            self._say(index, row.rest())
            self.emit(index, None)


class _Row:
    """Tokens of one row. Decoding starts a few tokens back, as a token's text may depend on the one before it."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.tokens: list[int] = []
        self.begin = self.told = 0  # tokens before `told` have been emitted; those from `begin` on give context
        self.ended = False

    def push(self, token: int) -> str:
        self.tokens.append(token)
        return self._new(final=False)

    def rest(self) -> str:
        return self._new(final=True)

    def _new(self, final: bool) -> str:
        before = self._decode(self.tokens[self.begin : self.told])
        whole = self._decode(self.tokens[self.begin :])
        if not final and (whole.endswith(_INCOMPLETE) or len(whole) <= len(before)):
            return ""
        self.begin, self.told = self.told, len(self.tokens)
        return whole[len(before) :]

    def _decode(self, tokens: list[int]) -> str:
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True))


class Printer:
    """Prints pieces in the order of the rows, each with its prompt before it."""

    def __init__(self, prompts: list[str], write: Callable[[str], None]) -> None:
        self.prompts, self.write = prompts, write
        self.held = [""] * len(prompts)
        self.ended = [False] * len(prompts)
        self.current = 0
        if prompts:
            write(prompts[0])

    def __call__(self, row: int, piece: str | None) -> None:
        if piece is None:
            self.ended[row] = True
        else:
            self.held[row] += piece
        while self.current < len(self.prompts):
            self.write(self.held[self.current])
            self.held[self.current] = ""
            if not self.ended[self.current]:
                return
            self.write("\n")
            self.current += 1
            if self.current < len(self.prompts):
                self.write(self.prompts[self.current])

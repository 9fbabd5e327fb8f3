"""What a runner answers, as values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """One prompt's continuation: `token_ids` are the new tokens, up to and with the one that stopped it."""

    prompt: str
    text: str
    token_ids: tuple[int, ...]


@dataclass(frozen=True)
class Answers:
    """The answers of one batch, in the order of its prompts, and its times on this rank.

    prefill_ms:   from the prompt on the device to its first new token.
    ms_per_token: mean of the following steps, one token of every row each; None where there was none.
    """

    rows: tuple[Answer, ...]
    prefill_ms: float
    ms_per_token: float | None

    def __iter__(self) -> Iterator[Answer]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> Answer:
        return self.rows[row]

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(row.text for row in self.rows)

    @property
    def tokens_per_second(self) -> float | None:
        """New tokens of all rows per second of decoding."""
        return None if not self.ms_per_token else len(self.rows) * 1000.0 / self.ms_per_token

    def times(self) -> str:
        """One line for a person."""
        if self.ms_per_token is None:
            return f"prefill {self.prefill_ms:.2f} ms, no further token"
        return (
            f"prefill {self.prefill_ms:.2f} ms, each further token {self.ms_per_token:.2f} ms, "
            f"{self.tokens_per_second:.1f} tokens/s"
        )

"""One model's task for a row of the matrix, and how a level says that it has no answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from porter.diagnostics import Diagnostic, Refused
from porter.matrix.library import model_of
from porter.matrix.row import Row
from porter.rulebook import LoadedRule

Found = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """One model: up to which level, of files that are not whole too if `everything`, and what is known of it."""

    module: str
    folder: Path
    level: str
    everything: bool
    rules: tuple[LoadedRule, ...]
    known: Row | None = None

    @property
    def model(self) -> str:
        return model_of(self.module)

    @property
    def port(self) -> Path:
        """The folder of the port."""
        return self.folder / self.model


class NoAnswer(Exception):
    """A level that could not be asked; the text says why."""


def no_answer(refused: Refused) -> NoAnswer:
    first: Diagnostic = refused.diagnostics[0]
    return NoAnswer("; ".join((first.message, *first.notes)))

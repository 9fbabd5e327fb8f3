"""Errors as values: a stage that cannot go on returns `Refused` with at least one `Diagnostic`; exceptions are bugs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """A piece of a file: lines count from 1, columns from 0, `end_column` is one past the last character."""

    path: str
    line: int
    column: int
    end_line: int
    end_column: int


@dataclass(frozen=True)
class Diagnostic:
    """One thing that is wrong. `label` stands at the caret; `notes` are further `= ...` lines; `help` is what to do."""

    code: str
    message: str
    span: Span | None = None
    label: str = ""
    notes: tuple[str, ...] = ()
    help: str | None = None
    severity: str = "error"  # "error" or "warning"


@dataclass(frozen=True)
class Refused:
    """The outcome of a stage that wrote nothing, and why."""

    diagnostics: tuple[Diagnostic, ...]


def refused(code: str, message: str, help: str | None = None, *notes: str) -> Refused:
    """A refusal with one reason, which has no place in a file."""
    return Refused((Diagnostic(code, message, notes=notes, help=help),))

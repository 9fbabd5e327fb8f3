"""What a terminal is, how wide, whether in colour; and a diagnostic as it stands there."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from porter.diagnostics import Diagnostic
from porter.report.diagnostic import render
from porter.shipped import shipped

if TYPE_CHECKING:
    from porter.source import Source


def is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


def in_colour() -> bool:
    """Whether a terminal may be sent escape codes."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def columns(stream: TextIO) -> int:
    """Of the terminal that a stream writes to; COLUMNS says otherwise."""
    given = os.environ.get("COLUMNS", "")
    with contextlib.suppress(OSError, ValueError):
        return int(given) if given.isdecimal() and int(given) else os.get_terminal_size(stream.fileno()).columns
    return 80


def rendered(diagnostic: Diagnostic, source: Source | None, terminal: TextIO | None) -> str:
    """The diagnostic as text; for a terminal wrapped and in colour."""
    text = text_of(diagnostic, source)
    if terminal is None:
        return render(diagnostic, text)
    shown = render(diagnostic, text, columns(terminal))
    return _coloured(shown, diagnostic) if in_colour() else shown


def text_of(diagnostic: Diagnostic, source: Source | None) -> str | None:
    """The text a span speaks of: spans name sources and rules by their short paths."""
    if diagnostic.span is None:
        return None
    path = diagnostic.span.path
    if source is not None and path in (source.display, str(source.path)):
        return source.text
    for place in (Path(path), shipped("rules").parent / path, shipped("rules") / Path(path).name):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return place.read_text(encoding="utf-8")
    return None


def _coloured(text: str, diagnostic: Diagnostic) -> str:
    colour = "red" if diagnostic.severity == "error" else "yellow"
    head, *rest = text.split("\n")
    code, colon, message = head.partition(": ")
    lines = [click.style(code, fg=colour, bold=True) + click.style(colon + message, bold=True)]
    for line in rest:
        gutter, bar, marked = line.partition(" | ")
        if bar and not gutter.strip() and marked.strip():
            line = click.style(gutter + bar, fg="blue") + click.style(marked, fg=colour)
        elif (bar and gutter.isdigit()) or line.endswith(" |"):
            line = click.style(gutter + bar, fg="blue") + marked
        lines.append(line)
    return "\n".join(lines)

"""A diagnostic as text for a person and as data for a machine: what is wrong, where (file, line, caret), what to do.

`render` is plain text without colour and never fails: a file that is gone or has changed costs the excerpt, not the
message.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

from porter.diagnostics import Diagnostic, Span
from porter.report.wrapped import wrapped

_WIDTH = 120  # columns of source shown in a pipe; longer lines are cut around the caret
_MARKED = 20  # columns kept for what stands around the marked part
_TAB = "    "
_CUT = "..."


def render(diagnostic: Diagnostic, source_text: str | None = None, width: int | None = None) -> str:
    """The diagnostic as text, without a final newline; reads the span's file when `source_text` is not given.

    width: of the terminal, to which words are wrapped and source lines are cut; without one words are not wrapped.
    """
    lines = _fitting(f"{diagnostic.severity}[{diagnostic.code}]: {_printable(diagnostic.message)}", width, 2)
    gutter = " "
    if diagnostic.span is not None:
        gutter = " " * len(str(diagnostic.span.line))
        lines += _excerpt(diagnostic.span, diagnostic.label, source_text, gutter, width)
    closing = [*diagnostic.notes, *([f"help: {diagnostic.help}"] if diagnostic.help else [])]
    hanging = f"\n{gutter}   "
    for text in closing:
        lines += _fitting(f"{gutter} = {_printable(text).replace(chr(10), hanging)}", width, len(gutter) + 3)
    return "\n".join(lines)


def _fitting(text: str, width: int | None, hanging: int) -> list[str]:
    lines = text.split("\n")
    return lines if width is None else [part for line in lines for part in wrapped(line, width, hanging)]


def to_json(diagnostic: Diagnostic) -> dict[str, Any]:
    """The diagnostic as JSON data. Columns count from 1, as in the text; `end_column` is one past the last."""
    span = diagnostic.span
    place = span and {
        "path": span.path,
        "line": span.line,
        "column": span.column + 1,
        "end_line": span.end_line,
        "end_column": span.end_column + 1,
    }
    return {
        "severity": diagnostic.severity,
        "code": diagnostic.code,
        "message": diagnostic.message,
        "span": place,
        "label": diagnostic.label,
        "notes": list(diagnostic.notes),
        "help": diagnostic.help,
    }


def _excerpt(span: Span, label: str, source_text: str | None, gutter: str, width: int | None) -> list[str]:
    """The place, the first source line of the span and the carets under it."""
    place = f"{gutter}--> {span.path}:{span.line}:{span.column + 1}"
    line = _source_line(span, source_text)
    if line is None:
        return [place, f"{gutter} = {_printable(label)}"] if label else [place]
    start = min(span.column, len(line))
    one_line = span.end_line == span.line
    end = min(span.end_column, len(line)) if one_line else len(line.rstrip())
    end = max(start, end)
    parts = [_printable(part) for part in (line[:start], line[start:end], line[end:].rstrip())]
    room = _WIDTH if width is None else max(width - len(gutter) - 3, 2 * _MARKED)
    before, marked, after = _trim(parts[0], parts[1], parts[2], room)
    indent = " " * _columns(before)
    carets = "^" * max(1, _columns(marked))
    return [
        place,
        f"{gutter} |",
        f"{span.line} | {before}{marked}{after}".rstrip(),
        *(f"{gutter} | {line}".rstrip() for line in _labelled(indent, carets, _printable(label), width and room)),
    ]


def _labelled(indent: str, carets: str, label: str, room: int | None) -> list[str]:
    """The carets and what is said there: beside them, or on lines of its own where that would not fit."""
    first, *rest = label.split("\n")
    beside = [f"{indent}{carets} {first}", *(f"{indent}{' ' * len(carets)} {more}" for more in rest)]
    if room is None or max(map(_columns, beside)) <= room:
        return beside
    start = min(len(indent), room // 2)
    return [indent + carets, *(part for line in (first, *rest) for part in wrapped(" " * start + line, room))]


def _source_line(span: Span, source_text: str | None) -> str | None:
    if source_text is None:
        try:
            source_text = Path(span.path).read_bytes().decode("utf-8", errors="replace")
        except (OSError, ValueError):  # ValueError: the path holds a null character
            return None
    # Not str.splitlines: Python's own lines do not end at a form feed or a Unicode line separator.
    lines = source_text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines[span.line - 1] if 1 <= span.line <= len(lines) else None


def _printable(text: str) -> str:
    """Tabs as four columns; what would move the cursor, or drive the terminal, as a replacement character."""
    return "".join(
        _TAB if char == "\t" else "\N{REPLACEMENT CHARACTER}" if _drives_terminal(char) else char for char in text
    )


def _drives_terminal(char: str) -> bool:
    return char != "\n" and unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _columns(text: str) -> int:
    """How many terminal columns the text takes: East Asian wide characters two, combining marks none."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def _trim(before: str, marked: str, after: str, width: int, /) -> tuple[str, str, str]:
    """Cuts the three parts of a line longer than `width` so that the marked one stays in sight."""
    if _columns(before) + _columns(marked) + _columns(after) <= width:
        return before, marked, after
    if _columns(marked) > width - _MARKED:
        marked, after = _head(marked, width - _MARKED - len(_CUT)) + _CUT, ""
    room = width - _columns(marked)
    left = max(room // 2, room - _columns(after))
    if _columns(before) > left:
        before = _CUT + _head(before[::-1], left - len(_CUT))[::-1]
    right = room - _columns(before)
    if _columns(after) > right:
        after = _head(after, right - len(_CUT)) + _CUT
    return before, marked, after


def _head(text: str, columns: int) -> str:
    """The longest beginning of the text that fits into so many columns."""
    end = taken = 0
    for end, char in enumerate(text):
        taken += _columns(char)
        if taken > columns:
            return text[:end]
    return text

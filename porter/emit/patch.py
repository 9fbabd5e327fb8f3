"""The text of a `port.diff` -> its hunks; and a port's text -> the source's, which the diff leads back to.

Contract: reads what `porter.emit.diff` writes, and of git's format no more. What is not that is a NotADiff, never half
a list of hunks. Lines keep their ends; numbers count from 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from porter.emit.lines import lines_of

_HEAD = re.compile(r"@@ -(\d+),(\d+) \+(\d+),(\d+) @@ (.*)")
_NO_END = "\\ No newline at end of file\n"


class NotADiff(ValueError):
    """A text that is no diff of porter's, or does not fit the text it shall be applied to; it says where."""


@dataclass(frozen=True)
class DiffLine:
    """A line of a hunk, by its mark, blank, `-` or `+`; with its number in the source and in the port."""

    mark: str
    old: int | None
    new: int | None
    text: str  # with its end


@dataclass(frozen=True)
class DiffHunk:
    """Lines of the source from `start` that became lines of the port from `new_start`; of none, the line before."""

    start: int
    new_start: int
    names: tuple[str, ...]  # "swiglu LlamaMLP.forward": see `porter.emit.diff`
    lines: tuple[DiffLine, ...] = field(repr=False)


def read_patch(text: str) -> tuple[DiffHunk, ...]:
    """The hunks of one file's diff. Raises NotADiff."""
    rows = [row + "\n" for row in text.split("\n")]
    rows.pop()  # what stands behind the last newline: nothing
    if not text:
        return ()
    if len(rows) < 2 or not rows[0].startswith("--- a/") or not rows[1].startswith("+++ b/"):
        raise NotADiff("line 1: it does not begin with the names of two files")
    hunks, at = [], 2
    while at < len(rows):
        hunk, at = _read_hunk(rows, at)
        hunks.append(hunk)
    return tuple(hunks)


def _read_hunk(rows: list[str], at: int) -> tuple[DiffHunk, int]:
    head = _HEAD.fullmatch(rows[at].rstrip("\n"))
    if head is None:
        raise NotADiff(f"line {at + 1}: no hunk begins here")
    start, count, new_start, new_count = map(int, head.groups()[:4])
    old, new, end, new_end = start, new_start, start + count, new_start + new_count
    lines: list[DiffLine] = []
    first = at
    at += 1
    while old < end or new < new_end or (at < len(rows) and rows[at] == _NO_END):
        row = rows[at] if at < len(rows) else ""
        if row == _NO_END and lines:
            last = lines.pop()
            lines.append(DiffLine(last.mark, last.old, last.new, last.text.removesuffix("\n")))
        elif row[:1] in (" ", "-", "+"):
            is_old, is_new = row[0] != "+", row[0] != "-"
            lines.append(DiffLine(row[0], old if is_old else None, new if is_new else None, row[1:]))
            old, new = old + is_old, new + is_new
        else:
            raise NotADiff(f"line {first + 1}: the hunk ends before its {count} and {new_count} lines")
        at += 1
    if (old, new) != (end, new_end):
        raise NotADiff(f"line {first + 1}: the hunk has more lines than it says")
    return DiffHunk(start, new_start, tuple(head[5].split("; ")), tuple(lines)), at


def source_of(port: str, hunks: tuple[DiffHunk, ...]) -> str:
    """The text that the diff made the port of. Raises NotADiff where the diff is not that of this port."""
    return "".join(_turned(port, hunks, "+", "-"))


def port_of(source: str, hunks: tuple[DiffHunk, ...]) -> str:
    """What the diff makes of a source. Raises NotADiff where the diff is not that of this source."""
    return "".join(_turned(source, hunks, "-", "+"))


def _turned(text: str, hunks: tuple[DiffHunk, ...], taken: str, given: str) -> Iterator[str]:
    lines, at = lines_of(text), 0
    for hunk in hunks:
        here = [line for line in hunk.lines if line.mark != given]
        numbers = [number for line in here if (number := line.old if taken == "-" else line.new) is not None]
        start = numbers[0] - 1 if numbers else (hunk.start if taken == "-" else hunk.new_start)
        if lines[start : start + len(here)] != [line.text for line in here] or start < at:
            raise NotADiff(f"the lines from {start + 1} on are not those of the diff")
        yield from lines[at:start]
        yield from (line.text for line in hunk.lines if line.mark != taken)
        at = start + len(here)
    yield from lines[at:]


"""A report on a terminal: wrapped to its width, coloured by what it means. rich does both, and is imported here alone.

Contract: nothing is cut: what does not fit into a line goes on in the next.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

from rich.console import Console
from rich.segment import Segment, Segments
from rich.table import Table as Grid
from rich.text import Text

from porter.report.blocks import Code, Report, Table, Tone, Words
from porter.report.wrapped import wrapped

_STYLES: dict[Tone, str] = {"": "", "good": "green", "open": "yellow", "bad": "bold red", "faint": "dim"}
_GAP = 2  # blanks between columns
_PROSE = 24  # columns that are read as prose are no narrower, while words elsewhere can be broken instead


def painted(report: Report, width: int, *, colour: bool) -> str:
    """The report for a terminal of so many columns; without `colour` there is no escape code in it."""
    out = io.StringIO()
    console = Console(
        file=out,
        width=width,
        force_terminal=True,
        color_system="standard" if colour else None,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )
    for number, block in enumerate(report):
        if number:
            console.print()
        if isinstance(block, Table):
            console.print(Segments(_unpadded(console.render_lines(_grid(block, width), pad=False))), end="")
        else:
            console.print(_text(block, width), soft_wrap=True)
    return out.getvalue().rstrip("\n")


def _unpadded(lines: list[list[Segment]]) -> Iterator[Segment]:
    """A grid's lines without the blanks that fill them to its width."""
    for line in lines:
        while line and not line[-1].text.strip():
            line.pop()
        if line:
            last = line.pop()
            line.append(Segment(last.text.rstrip(), last.style))
        yield from (*line, Segment.line())


def _text(block: str | Words | Code, width: int) -> Text:
    if isinstance(block, Code):
        return Text(block.text)
    words = block if isinstance(block, Words) else Words(block)
    lines = (part for line in _joined(words) for part in wrapped(line, width))
    return Text("\n".join(lines), style=_STYLES[words.tone])


def _joined(words: Words) -> list[str]:
    """The lines, each with those that go on below it."""
    lines: list[str] = []
    for line in words.text.split("\n"):
        goes_on = words.goes_on and lines and lines[-1] and line[:1].isspace()
        lines[-1:] = [f"{lines[-1]} {line.strip()}"] if goes_on else [*lines[-1:], line]
    return lines


def _grid(block: Table, width: int) -> Grid:
    grid = Grid(box=None, show_edge=False, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for column, (title, room) in enumerate(zip(block.header, _widths(block, width), strict=True)):
        grid.add_column(title, justify="right" if column in block.right else "left", width=room, overflow="fold")
    for row in block.rows:
        grid.add_row(*map(Text, row.cells), style=_STYLES[row.tone])
    return grid


def _widths(block: Table, width: int) -> list[int]:
    """Of the columns: as wide as they are where there is room, else prose narrows first, and words are broken last."""
    columns = list(zip(block.header, *(row.cells for row in block.rows), strict=True))
    widths = [max(1, *(len(line) for cell in cells for line in cell.split("\n"))) for cells in columns]
    words = [max([_PROSE, *(len(word) for cell in cells for word in cell.split())]) for cells in columns]
    room = max(width - _GAP * (len(widths) - 1), len(widths))
    while sum(widths) > room:
        breakable = [column for column, least in enumerate(words) if widths[column] > least]
        widest = max(breakable or range(len(widths)), key=lambda column: widths[column])
        widths[widest] -= 1
    return widths

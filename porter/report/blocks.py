"""What a report is made of: paragraphs, code and tables, each saying what it means; and all of it as plain text.

Contract: plain text is for pipes and files. It holds everything, is neither cut nor wrapped, and a row of a table is
one line. How a terminal shows the same is `painted`'s affair.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from porter.report.table import table

Tone: TypeAlias = Literal["", "good", "open", "bad", "faint"]  # open: nobody is wrong, and something is left to do


@dataclass(frozen=True)
class Words:
    """A paragraph, whose lines may be wrapped between words; a plain string is one too."""

    text: str
    tone: Tone = ""
    goes_on: bool = False  # lines that are indented go on with the one above, as in a docstring


@dataclass(frozen=True)
class Code:
    """Lines that stand as they are."""

    text: str


@dataclass(frozen=True)
class Row:
    """The cells of a table's row; its first line says how it is meant."""

    cells: tuple[str, ...]
    tone: Tone = ""


@dataclass(frozen=True)
class Table:
    """Rows under a header; numbers stand in the columns of `right`."""

    header: tuple[str, ...]
    rows: tuple[Row, ...]
    right: frozenset[int] = frozenset()


Block: TypeAlias = str | Words | Code | Table
Report: TypeAlias = Sequence[Block]


def tabulated(header: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[int] = ()) -> Table:
    """A table of which no row means more than it says."""
    return Table(tuple(header), tuple(Row(tuple(cells)) for cells in rows), frozenset(right))


def plain(report: Report) -> str:
    """The report as text, blocks apart by a blank line."""
    return "\n\n".join(_plain(block) for block in report)


def _plain(block: Block) -> str:
    if isinstance(block, Table):
        rows = [[" ".join(cell.split("\n")) for cell in row.cells] for row in block.rows]
        return table(block.header, rows, right=block.right)
    return block if isinstance(block, str) else block.text

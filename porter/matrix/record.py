"""Rows on disk: one JSON document, a row a model, written whole or not at all."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from porter.diagnostics import Diagnostic, Refused
from porter.emit.account import account
from porter.emit.swap import alone_in, replace_file
from porter.matrix.row import Row, row_data, row_of

FORMAT = 1


def read_record(path: Path) -> dict[str, Row] | Refused:
    """The rows of a file by their models; none where there is no file. P152 for a file that holds something else."""
    try:
        data = json.loads(path.read_bytes())
        if data["format"] != FORMAT:
            raise ValueError(f"its format is {data['format']}, this porter's is {FORMAT}")
        rows = [row_of(row) for row in data["rows"]]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        message = f"`{path}` is not the record of a matrix"
        return Refused((Diagnostic("P152", message, notes=(why,), help="move it away, or give --json another file"),))
    return {row.model: row for row in rows}


class CannotWrite(Exception):
    """The file cannot be written, and is as it was; the text says why."""


@dataclass
class Record:
    """Rows by their models, and the file that holds them, if any."""

    path: Path | None
    rows: dict[str, Row]

    def write(self) -> None:
        """Make the file hold the rows, in one step. Raises CannotWrite."""
        if self.path is None:
            return
        rows = sorted(self.rows.values(), key=lambda row: row.module)
        data = {"format": FORMAT, "rows": [row_data(row) for row in rows]}
        try:
            with alone_in(self.path.absolute().parent):
                replace_file(self.path, account(data).encode("utf-8"))
        except OSError as error:
            raise CannotWrite(f"cannot write `{self.path}`: {error.strerror or error}") from error

    def keep(self, row: Row) -> None:
        """Write with this row in the place of what was known of its model."""
        self.rows[row.model] = row
        self.write()

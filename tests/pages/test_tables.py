"""Tables of the README and the pages are what records and contracts say today."""

from __future__ import annotations

import pytest

from tests.pages.tables import LOWERED, ROWS, TABLES, found


@pytest.mark.parametrize("table", TABLES, ids=lambda table: f"{table.file.stem}: {table.header}")
def test_a_table_is_what_it_is_made_from(table):
    text = table.file.read_text(encoding="utf-8")
    begin, end = found(table, text)
    assert len(table.lines) > 4
    assert text.split("\n")[begin:end] == table.lines, "write it again: python tests/pages/tables.py"


def test_models_that_are_shown_were_lowered():
    assert set(LOWERED) < {row["model"] for row in ROWS if "lowering" in row}


def test_a_table_that_is_not_there_is_an_error():
    with pytest.raises(ValueError):
        found(TABLES[0], "| another | table |\n|---|---|\n")

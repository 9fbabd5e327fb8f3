"""The page `diagnostics` has every code that porter gives, once, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import porter

PACKAGE = Path(porter.__file__).parent
PAGE = (PACKAGE / "pages" / "diagnostics.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.split("\n") if line.startswith("| P")]


def given() -> set[str]:
    return {
        code
        for file in PACKAGE.rglob("*.py")
        for code in re.findall(r'["\[](P\d{3})["\]]', file.read_text(encoding="utf-8"))
    }


def test_every_code_has_its_row_and_no_row_is_of_another():
    codes = [row[0] for row in ROWS]
    assert len(codes) == len(set(codes)) > 70
    assert set(codes) == given()


def test_a_row_says_what_is_wrong_and_what_to_do():
    assert [row for row in ROWS if len(row) != 4 or not row[1] or not row[3]] == []


def test_a_code_that_a_docstring_speaks_of_is_one_that_is_given():
    spoken = {code for file in PACKAGE.rglob("*.py") for code in re.findall(r"\bP\d{3}\b", file.read_text())}
    assert spoken == given()

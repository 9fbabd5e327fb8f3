"""The record of the suite under the settings of other CPUs: `python tests/machines.py --record`."""

import json

from tests.machines import HERE, RECORD, SETTINGS, figures, rest

FOUND = json.loads(RECORD.read_text())["settings"]


def test_nothing_failed_under_any_setting_that_was_recorded():
    assert FOUND and FOUND.keys() <= {*SETTINGS, "the rest"}
    for result in FOUND.values():
        assert result["passed"] > 100 and result["failed"] == []


def test_every_test_file_runs_with_the_figures_or_with_the_rest():
    files = {str(file.relative_to(HERE.parent)) for file in HERE.rglob("test_*.py")}
    assert set(figures()) <= files and {*figures(), *rest()} == files
    assert not {*figures()} & {*rest()}

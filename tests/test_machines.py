"""The record of the suite under the settings of other CPUs, and how `python tests/machines.py --record` makes it."""

import argparse
import json

import pytest

from tests import machines
from tests.machines import HERE, JUDGE, RECORD, REST, ROOT, SETTINGS, chosen_settings, figures, rest, run, said

FOUND = json.loads(RECORD.read_text())["settings"]


@pytest.mark.parametrize("name", FOUND)
def test_nothing_failed_alone_under_a_setting_that_was_recorded(name):
    result = FOUND[name]
    assert name in (*SETTINGS, REST) and "no_answer" not in result
    assert result["passed"] > 100 and result["failed_alone"] == [] and {*result["failed_alone"]} <= {*result["failed"]}


def test_every_test_file_runs_with_the_figures_or_with_the_rest():
    files = {str(file.relative_to(ROOT)) for file in HERE.rglob("test_*.py")}
    assert set(figures()) <= files and {*figures(), *rest(), JUDGE} == files
    assert not {*figures()} & {*rest()} and JUDGE not in rest()


@pytest.fixture
def suite(tmp_path, monkeypatch):
    """A suite of its own: one test that fails always, one that fails once, one that hangs on the setting."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_few.py").write_text(
        "import os, pathlib\n"
        "def test_right(): pass\n"
        "def test_wrong(): assert False\n"
        "def test_wrong_once():\n"
        "    note = pathlib.Path(__file__).with_name('note')\n"
        "    assert note.exists() or note.write_text('') is None and False\n"
        "def test_of_the_setting(): assert os.environ['A_SETTING'] == 'a'\n"
    )
    monkeypatch.setattr(machines, "ROOT", tmp_path)
    return ["tests"]


@pytest.mark.parametrize("workers", [0, 2])
def test_what_fails_is_run_again_alone(suite, workers):
    found = run({"A_SETTING": "a"}, suite, workers)
    once, always = "tests.test_few::test_wrong_once", "tests.test_few::test_wrong"
    assert found == {"passed": 2, "skipped": 0, "failed": [always, once], "failed_alone": [always]}
    assert said("x", found) == (
        f"x: 2 passed, 2 failed, 1 of them alone too, 0 skipped\n  failed alone too: {always}\n  failed: {once}"
    )


def test_a_pytest_that_gives_no_answer_is_said(suite):
    found = run({}, ["--no-such-option"])
    assert found["no_answer"][0] == "pytest ended with 4" and "no-such-option" in said("x", found)


def test_a_run_goes_on_where_it_was_cut_off():
    here = {"text": "now"}
    asked = argparse.Namespace(only=None, whole=False, resume=True)
    first, second, *others = SETTINGS
    recorded = {first: {"machine": here, "whole": True}, second: {"machine": {"text": "before"}, "whole": False}}
    assert list(chosen_settings(asked, recorded, here)) == [second, *others, REST]
    asked.whole, recorded[second] = True, {"machine": here, "whole": False}
    assert list(chosen_settings(asked, recorded, here)) == [second, *others]
    asked.resume, asked.only = False, [first]
    assert list(chosen_settings(asked, recorded, here)) == [first]

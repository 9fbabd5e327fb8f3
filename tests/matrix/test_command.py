"""`porter matrix` as a command: what goes where, exit codes, the file of rows."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import porter.cli

MODELS = ("--models", "llama,doge", "--models", "whisper")


@pytest.fixture
def matrix(capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(*words):
        code = porter.cli.exit_code(["matrix", *map(str, words)])
        return code, *capfd.readouterr()

    return call


def rows_in(path):
    return {row["model"]: row for row in json.loads(Path(path).read_text())["rows"]}


def test_a_table_on_stdout_and_progress_on_stderr(matrix, quick, tmp_path):
    code, out, err = matrix(*MODELS, "--level", "lowering")
    assert code == 0 and not list(tmp_path.iterdir())
    lines = [" ".join(line.split()) for line in out.split("\n")]
    assert "llama yes 7 0 0 0 equal 0e+00 3 checks passed 60 -> 13 60 -> 13" in lines
    assert "3 files: 2 converted, 1 refused, 0 crashed; 1 whole: nothing is left or unknown" in lines
    said = sorted(err.strip().split("\n"))
    assert [line.split(",")[0] for line in said if "llama" in line] == ["matrix: llama: whole"]
    assert sorted(line.rsplit(", ", 1)[1] for line in said) == ["1 of 3", "2 of 3", "3 of 3"]


def test_rows_are_kept_in_a_file_as_they_come_and_found_once(matrix, quick):
    assert matrix("--models", "llama", "--json", "rows.json")[0] == 0
    before = rows_in("rows.json")["llama"]
    code, _, err = matrix(*MODELS, "--json", "rows.json")
    assert code == 0 and "llama" not in err and "doge" in err
    assert list(rows_in("rows.json")) == ["doge", "llama", "whisper"]
    assert rows_in("rows.json")["llama"] == before
    code, _, err = matrix(*MODELS, "--json", "rows.json", "--fresh")
    assert "llama" in err and "doge" in err


def test_an_interrupted_run_has_written_what_it_found(matrix, quick, monkeypatch):
    import porter.matrix.run as engine

    def until_two(*arguments, **options):
        rows = 0
        for told in run(*arguments, **options):
            yield told
            rows += not isinstance(told, engine.Began)
            if rows == 2:
                raise KeyboardInterrupt

    run = engine.run
    monkeypatch.setattr(engine, "run", until_two)
    code, out, _ = matrix(*MODELS, "--json", "rows.json")
    assert (code, out) == (130, "") and len(rows_in("rows.json")) == 2
    monkeypatch.setattr(engine, "run", run)
    code, _, err = matrix(*MODELS, "--json", "rows.json")
    assert code == 0 and len(err.strip().split("\n")) == 1 and len(rows_in("rows.json")) == 3


def test_a_port_that_differs_is_a_failure_and_said_to_be_worse(matrix, quick, replaced):
    assert matrix("--models", "llama", "--json", "rows.json")[0] == 0
    different = {"outcome": "different", "logits": 0.1, "tokens": "differ", "ops": {}}
    replaced("parity", lambda: different)
    code, out, err = matrix("--models", "llama", "--json", "rows.json", "--fresh")
    assert code == 1 and "different 1e-01" in out
    assert "llama is worse than it was: parity: was equal, is different" in err


def test_levels_that_no_longer_hold_are_said(matrix, quick):
    assert matrix("--models", "llama", "--level", "capture", "--json", "rows.json")[0] == 0
    _, _, err = matrix("--models", "llama", "--level", "capture", "--json", "rows.json")
    assert err == ""
    code, _, err = matrix("--models", "llama", "--json", "rows.json", "--fresh")
    assert code == 0 and "no longer known" in err and "variants, capture; find it again with --level capture" in err


def test_a_model_that_porter_fails_on_is_a_row_and_a_failure(matrix, replaced):
    replaced("parity", lambda: 1 / 0)
    code, out, _ = matrix("--models", "llama,whisper")
    assert code == 1 and "llama" in out and "ZeroDivisionError: division by zero" in out and "P103" in out


def test_a_name_that_is_no_model(matrix):
    code, out, err = matrix("--models", "lama,llama,nonsense-x")
    assert (code, out) == (1, "") and err.count("error[P151]") == 2 and "did you mean `llama`" in err


def test_a_file_that_holds_something_else_stays(matrix, quick):
    Path("rows.json").write_text("mine")
    code, out, err = matrix("--models", "llama", "--json", "rows.json")
    assert (code, out) == (1, "") and "error[P152]" in err and Path("rows.json").read_text() == "mine"


def test_a_file_that_cannot_be_written_is_said_before_the_work(matrix):
    code, out, err = matrix("--models", "llama", "--json", "no/such/rows.json")
    assert (code, out) == (1, "") and err.startswith("error[P074]") and "rows.json" in err


def test_another_release_of_transformers_runs_nothing(matrix, monkeypatch):
    monkeypatch.setattr("porter.cli.models.other_release", lambda: "another one is installed")
    assert "error[P134]" in matrix("--models", "llama")[2]
    assert matrix("--models", "llama", "--level", "port")[0] == 0


@pytest.mark.parametrize("words", [("--level", "all"), ("--jobs", "0"), ("--timeout", "0"), ("llama",)], ids=" ".join)
def test_usage(matrix, words):
    code, out, _ = matrix(*words)
    assert (code, out) == (2, "")


def test_on_a_terminal_a_bar_shows_what_is_at_work(matrix, quick, monkeypatch):
    monkeypatch.setattr("porter.cli.talk.on_terminal", lambda: True)
    monkeypatch.setattr(sys.modules["porter.cli.matrix"], "on_terminal", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    code, out, err = matrix("--models", "llama")
    assert code == 0 and "matrix: llama parity" in err and "\x1b[" not in out

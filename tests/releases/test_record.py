"""The record of other releases, its table on the page `versions`, and how a release is put before an environment."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from porter.release import TRANSFORMERS, WINDOWS, is_within, release_of
from porter.release.tested import RECORD
from porter.release.tested import tested_stacks as recorded_stacks
from porter.report.blocks import plain
from porter.report.stack import of_tested
from tests.releases import environment, run
from tests.releases.environment import lacking, prepare

ROOT = Path(__file__).resolve().parents[2]
ROWS = recorded_stacks()
PORTS = {path.parent.name for path in (ROOT / "generated_models").glob("*/port.json")}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.torch}, {row.transformers}")
def test_what_is_recorded_is_of_the_windows_and_good(row):
    assert is_within(row.transformers, TRANSFORMERS) and is_within(row.torch, WINDOWS["torch"])
    assert row.good and set(row.ports) == PORTS and row.passed > 300
    assert row.ports["llama2"]["sites"] == {"ported": 7} and row.ports["llama2"]["passed"] > 150


def test_both_ends_of_the_window_and_what_is_installed_are_recorded():
    known = [release_of(row.transformers) for row in ROWS]
    first, end = TRANSFORMERS.removeprefix(">=").split(",<")
    last = f"{end.split('.')[0]}.{int(end.split('.')[1]) - 1}"
    assert {first, last, release_of(importlib.metadata.version("transformers"))} <= set(known)


def test_the_page_has_the_table():
    page = (ROOT / "porter" / "pages" / "versions.md").read_text(encoding="utf-8")
    lines = [" ".join(line.split()) for line in page.splitlines()]
    for row in ROWS:
        library = "{converted} of {files}, {whole}".format(**row.library) if row.library else "-"
        rules = str(row.library["rules"]) if row.library else "-"
        cells = (row.torch, row.transformers, f"{row.whole} of {len(row.ports)}", str(row.passed), library, rules)
        assert f"| {' | '.join(cells)} |" in lines
    assert len(plain([of_tested(ROWS)]).splitlines()) == 1 + len(ROWS)


def distribution(folder, name, version, *requires):
    place = folder / f"{name}-{version}.dist-info"
    place.mkdir(parents=True)
    needs = "".join(f"Requires-Dist: {line}\n" for line in requires)
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}")


def test_only_what_would_not_do_is_installed(tmp_path):
    here = importlib.metadata.version("torch").partition("+")[0]
    distribution(tmp_path, "mine", "2.0")
    wanted = ["mine>=1", "mine<2", f"torch=={here}", "other>=3", "other; extra == 'x'", "third; python_version < '3'"]
    assert lacking(map(Requirement, wanted), tmp_path) == ["mine<2", "other>=3"]


def test_a_release_is_installed_with_what_it_asks_for_and_nothing_more(tmp_path, monkeypatch):
    here, asked = importlib.metadata.version("packaging"), []
    known = {"transformers": ("tokens==7", f"packaging=={here}"), "tokens": ("deep>=1", "torch")}

    def pip(words, **options):
        names = words[words.index("--target") + 2 :]
        asked.append(names)
        for name, _, version in (name.replace(">=", "==").partition("==") for name in names):
            distribution(tmp_path, name, version, *known.get(name, ()))

    monkeypatch.setattr(environment.subprocess, "run", pip)
    prepare("1.2.3", tmp_path)
    assert asked == [["transformers==1.2.3"], ["tokens==7"], ["deep>=1"]]


def test_a_row_takes_the_place_of_its_own_and_rows_stand_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "RECORD", tmp_path / "tested.json")
    for version, ports in (("5.9.0", 1), ("5.20.0", 2), ("5.9.0", 3)):
        run.write({"torch": "2.10.0+cpu", "transformers": version, "ports": ports, "library": {}})
    run.write({"torch": "2.10.0+cpu", "transformers": "5.9.0", "ports": 4})
    rows = json.loads((tmp_path / "tested.json").read_text())["stacks"]
    assert [(row["transformers"], row["ports"]) for row in rows] == [("5.9.0", 4), ("5.20.0", 2)]
    assert rows[0]["library"] == {}  # counted on another day
    assert RECORD.name == "tested.json"


def test_the_library_is_counted():
    rows = [{"outcome": "converted", "whole": True}, {"outcome": "converted", "whole": False}]
    assert run.counted([*rows, {"outcome": "refused", "whole": False}]) == {"files": 3, "converted": 2, "whole": 1}

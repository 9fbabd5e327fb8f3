"""The recorded matrix: what it says holds today, and a row gets worse only by an explicit change of `matrix.json`.

    porter matrix --jobs 2 --level lowering --json tests/ports/matrix.json

finds again what no longer holds (`--level parity` in minutes; what it does not reach is then no longer recorded).
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from porter.diagnostics import Refused
from porter.matrix.library import causal_modules
from porter.matrix.record import read_record
from porter.matrix.row import LEVELS, Row, is_wrong, row_data, worse
from porter.matrix.run import run
from porter.rulebook import load_rules
from porter.shipped import shipped
from tests.pages.blocks import prose
from tests.pages.tables import LOWERED

ROOT = Path(__file__).resolve().parents[2]
CENSUS = json.loads((ROOT / "tests" / "ports" / "census.json").read_text())
DRAWN, SECONDS = 3, 10.0
ANEW = 20
FINE = {  # outcomes of a whole file; a port that keeps its source's cache is not captured, and its graphs not executed
    "variants": ("passed",),
    "capture": ("passed", "not applicable"),
    "lowering": ("converts",),
    "graph": ("equal", "not executed"),
}


def recorded() -> dict[str, Row]:
    rows = read_record(ROOT / "tests" / "ports" / "matrix.json")
    assert not isinstance(rows, Refused), rows
    return rows


ROWS = recorded()
CONVERTED = [row for row in ROWS.values() if row.outcome == "converted"]
WHOLE = [row for row in CONVERTED if row.whole]


def found_again(rows: Iterable[Row], level: str, known: Mapping[str, Row] | None = None) -> dict[str, Row]:
    rules = load_rules(shipped("rules"))
    assert not isinstance(rules, Refused)
    told = run([row.module for row in rows], level=level, rules=rules, known=known, jobs=2)
    return {row.model: row for row in told if isinstance(row, Row)}


def drawn(day: date, rows: Mapping[str, Row]) -> list[Row]:
    """Three rows of converted models that are quick to compare: the same all day."""
    quick = [
        row
        for row in rows.values()
        if row.outcome == "converted" and sum(row.seconds.get(level, 0) for level in LEVELS[:2]) < SECONDS
    ]
    return random.Random(day.isoformat()).sample(sorted(quick, key=lambda row: row.model), DRAWN)


def differences(found: Mapping[str, Row], known: Iterable[Row]) -> list[str]:
    return [f"{row.model}: {respect}" for row in known for respect in worse(found[row.model], row)]


def account(row: Row) -> dict[str, Any]:
    """What converting alone says of a model."""
    data = row_data(row)
    return {name: data.get(name) for name in ("model", "module", "whole", "outcome", "sites", "open", "refusal")}


def test_every_causal_model_has_its_row_and_none_crashed_or_computes_something_else():
    assert tuple(row.module for row in ROWS.values()) == causal_modules()
    assert [row.model for row in ROWS.values() if is_wrong(row)] == []
    assert [row.model for row in CONVERTED if row.parity is None] == []


def kept(day: date, rows: Mapping[str, Row]) -> dict[str, Row]:
    """All rows but 20, others every day: those that need not be found again where the record is of today's code."""
    anew = random.Random(day.isoformat()).sample(sorted(rows), ANEW)
    return {model: row for model, row in rows.items() if model not in anew}


def test_what_the_record_says_of_the_sites_is_what_converting_says_today():
    """All rows are found again, but for those that today's rules and code have made: of them 20 drawn by the date."""
    found = found_again(ROWS.values(), "port", kept(date.today(), ROWS))
    wrong = {model: account(found[model]) for model in ROWS if account(found[model]) != account(ROWS[model])}
    assert wrong == {}, f"not as recorded: {', '.join(wrong)}"


def test_three_rows_drawn_by_the_date_are_no_worse_than_recorded():
    known = drawn(date.today(), ROWS)
    found = found_again(known, "parity")
    assert [row.model for row in known if row.model not in found] == []
    assert all(row.failure or row.parity for row in found.values())
    assert differences(found, known) == []


def test_what_is_drawn_stays_for_a_day_and_comes_to_every_quick_model():
    day = date(2026, 1, 1)
    assert [row.model for row in drawn(day, ROWS)] == [row.model for row in drawn(day, dict(reversed(ROWS.items())))]
    seen = {row.model for number in range(3000) for row in drawn(day + timedelta(number), ROWS)}
    assert len(seen) > 100 and all(ROWS[model].outcome == "converted" for model in seen)


def test_rows_of_other_code_than_today_s_are_all_found_again():
    stale = {**ROWS["llama"].identity, "port": "of yesterday"}
    wrong = replace(ROWS["llama"], sites={}, identity=stale)
    assert account(found_again([wrong], "port", {"llama": wrong})["llama"]) == account(ROWS["llama"]) != account(wrong)


def test_what_is_found_again_comes_to_every_row():
    day = date(2026, 1, 1)
    again = [set(ROWS) - set(kept(day + timedelta(number), ROWS)) for number in range(200)]
    assert {len(models) for models in again} == {ANEW} and set.union(*again) == set(ROWS)


def test_a_row_that_got_worse_is_said():
    known = ROWS["llama"]
    assert known.parity is not None
    wrong = replace(known, parity={**known.parity, "outcome": "different"})
    assert differences({"llama": wrong}, [known]) == ["llama: parity: was equal, is different"]


def test_whole_is_what_a_census_says_too():
    """Nothing left, nothing unknown, and every class that building the model gives has a role."""
    for row in WHOLE:
        assert {status for counts in row.sites.values() for status in counts} <= {"ported", "verdict"}
        assert CENSUS[row.module]["unknown"] == CENSUS[row.module]["unseen"] == []


@pytest.mark.parametrize("row", WHOLE, ids=lambda row: row.model)
def test_what_is_recorded_of_a_whole_file_is_good(row):
    for level, good in FINE.items():
        found = getattr(row, level)
        assert found is None or found["outcome"] in good, found
    if row.capture is not None and row.capture["outcome"] == "passed":
        assert row.capture["graphs of a prefill"] == row.capture["graphs of a decode step"] == 1
        assert row.capture["recompiles"] == row.capture["host reads between steps"] == 0
    if row.lowering is not None:
        kernels = row.lowering["kernels"].values()
        assert all(each["source"] is None or each["port"] < each["source"] for each in kernels)


@pytest.mark.parametrize("page", ["README.md", "porter/pages/models.md"])
def test_a_page_says_what_the_matrix_found(page):
    said = prose(ROOT / page)
    assert f"Of the {len(ROWS)} modeling files" in said and f"all {len(CONVERTED)} compute" in said
    assert f"{len(CONVERTED)} are converted and {len(ROWS) - len(CONVERTED)} refused" in said
    assert max(row.parity["logits"] for row in CONVERTED if row.parity) <= 2e-6
    assert "within 2e-6 of their scale" in said
    assert f"{len(WHOLE)} of them are whole" in said


def test_the_page_in_chinese_says_what_the_matrix_found():
    said = prose(ROOT / "porter/pages/zh.md")
    refused = len(ROWS) - len(CONVERTED)
    assert f"{len(ROWS)} 个" in said and f"{len(CONVERTED)} 个已转换，{refused} 个被拒绝" in said
    assert f"{len(CONVERTED)} 个 port" in said and f"其中 {len(WHOLE)} 个是完整的" in said and "2e-6" in said


def test_the_pages_say_what_was_lowered():
    models = prose(ROOT / "porter/pages/models.md")
    lowered = {row.model: row.lowering for row in WHOLE if row.lowering and row.capture and row.variants}
    assert f"{len(lowered)} of these are also recorded with every check of `verify`" in models
    own = sorted(model for model in lowered if ROWS[model].capture["outcome"] == "not applicable")
    assert f"{len(lowered) - len(own)} in one graph each for prefill and decode" in models
    assert not own or f"{len(own)} keep their source's cache: {', '.join(own)}" in models
    both = [found["kernels"] for found in lowered.values() if both_lower(found)]
    for phase in ("prefill", "decode"):
        before, after = (round(median(kernels[phase][side] for kernels in both)) for side in ("source", "port"))
        assert f"{phase} {before} -> {after}" in models, f"{phase} {before} -> {after}"
    assert f"in the median of the {len(both)} whose source lowers too" in models
    readme = prose(ROOT / "README.md")
    for model in LOWERED:
        done = sum(sum(kind.values()) for kind in ROWS[model].sites.values())
        cells = " | ".join(counted(lowered[model], phase) for phase in ("prefill", "decode"))
        assert f"| {model} | {done} of {done} | {cells} |" in readme, f"| {model} | {cells} |"
        assert f"| {model} | whole | {done} of {done} | {cells} |" in models, f"| {model} | {cells} |"


def test_the_pages_say_whose_attention_is_told_lengths():
    models = prose(ROOT / "porter/pages/models.md")
    lengths = [list(row.lowering["lengths"].values()) for row in WHOLE if row.lowering]
    assert all(phase["told"] == phase["attention"] for phases in lengths for phase in phases)
    told = sum(all(phase["told"] for phase in phases) for phases in lengths)
    written_out = sum(not phases[1]["attention"] for phases in lengths)
    assert f"{told} tell every attention kernel of prefill and decode how far to read" in models
    assert f"of {written_out} decode has no such kernel" in models


def test_the_pages_say_whose_graphs_were_executed():
    models = prose(ROOT / "porter/pages/models.md")
    executed = [row for row in WHOLE if row.graph and row.graph["outcome"] == "equal"]
    assert f"The graphs of {len(executed)} of these were executed on the CPU beside the source" in models
    assert {row.graph["tokens"] for row in executed} == {"0 differ"}
    assert max(row.graph["logits"] for row in executed) <= 1e-5
    others = sorted(row.model for row in WHOLE if row.graph and row.graph["outcome"] != "equal")
    assert not others or f"{len(others)} were not: {', '.join(others)}" in models


def both_lower(lowering: dict[str, Any]) -> bool:
    return all(kernels["source"] is not None for kernels in lowering["kernels"].values())


def counted(lowering: dict[str, Any], phase: str) -> str:
    kernels, stopped = lowering["kernels"][phase], lowering["unconverted"].get(f"source {phase}", "")
    return f"{kernels['source'] or f'`{stopped}`'} -> {kernels['port']}"

"""The matrix itself: rows that are known stay, the others are found, in processes of their own, as they are done."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from porter.diagnostics import Refused
from porter.matrix.identity import identities
from porter.matrix.levels import climb, is_known, preload
from porter.matrix.library import model_of
from porter.matrix.processes import Ended, Limits, Said, run_each
from porter.matrix.row import Row
from porter.matrix.task import Task
from porter.rulebook import LoadedRule
from porter.source import load_source

LIMITS = Limits(seconds=300, memory=12)


@dataclass(frozen=True)
class Began:
    """A model begins a level."""

    model: str
    level: str


def run(
    modules: Sequence[str],
    *,
    level: str,
    rules: tuple[LoadedRule, ...],
    known: Mapping[str, Row] | None = None,
    everything: bool = False,
    jobs: int = 1,
    limits: Limits = LIMITS,
) -> Iterator[Began | Row]:
    """A row for each module, as they are done; `known` rows whose results stay come first.

    everything: capture and lower files that are not whole, too.
    """
    known = known or {}
    asked = []
    for module in modules:
        row = known.get(model_of(module))
        if row is not None and _is_known(row, module, level, everything, rules):
            yield row
        else:
            asked.append(module)
    if not asked:
        return
    preload(level)
    identities()  # read once, for all processes
    with tempfile.TemporaryDirectory(prefix="porter-matrix-") as name:
        tasks = [
            Task(module, Path(name) / model_of(module), level, everything, rules, known.get(model_of(module)))
            for module in asked
        ]
        yield from _found(tasks, jobs, limits)


def _is_known(row: Row, module: str, level: str, everything: bool, rules: tuple[LoadedRule, ...]) -> bool:
    source = load_source(module)
    return not isinstance(source, Refused) and is_known(row, source, level, everything, rules)


def _found(tasks: Sequence[Task], jobs: int, limits: Limits) -> Iterator[Began | Row]:
    rows = [Row(task.model, task.module) for task in tasks]
    levels = ["port"] * len(tasks)
    for task in tasks:
        task.folder.mkdir()
    work = [partial(climb, task) for task in tasks]
    for told in run_each(work, [task.folder / "log" for task in tasks], jobs=jobs, limits=limits):
        index = told.index
        if isinstance(told, Ended):
            if told.fault is not None:
                rows[index] = replace(rows[index], failure={"level": levels[index], "what": told.fault})
            shutil.rmtree(tasks[index].folder, ignore_errors=True)
            yield rows[index]
        elif isinstance(told, Said) and isinstance(told.word, Row):
            rows[index] = told.word
        else:
            levels[index] = told.word
            yield Began(tasks[index].model, told.word)

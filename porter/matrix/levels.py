"""One model, level by level: converted, compared with its source, captured, lowered, executed. In a process of its own.

Contract: says the name of a level when it begins, and the row anew after each. A level that raises ends the climb with
a row that says so. What a level found stays while its identity does; of the others only those asked for are run.
"""

from __future__ import annotations

import os
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from porter.matrix import findings, graphs
from porter.matrix.identity import TEXT, identities
from porter.matrix.row import LEVELS, Row
from porter.matrix.task import Found, NoAnswer, Task
from porter.rulebook import LoadedRule
from porter.source import Source

FIND: dict[str, Callable[[Task], Found]] = {
    "port": findings.port,
    "parity": findings.parity,
    "variants": findings.variants,
    "capture": findings.capture,
    "lowering": graphs.lowering,
    "graph": graphs.graph,
}
_OF_WHOLE_FILES = ("variants", "capture", "lowering", "graph")


def preload(level: str) -> None:
    """Import what the levels up to this one need, so that each process has it."""
    if level != "port":
        import porter.verify.brief
    if level in ("capture", "lowering", "graph"):
        import porter.verify.capture
    if level == "graph":
        import porter.graph.execute  # noqa: F401


def is_known(row: Row, source: Source, level: str, everything: bool, rules: tuple[LoadedRule, ...] = ()) -> bool:
    """Whether nothing of a row has to be found again."""
    if row.failure is not None or row.identity.get("port") != identities().of_port(source, rules):
        return False
    return all(_stays(row, row, each) for each in LEVELS[1:] if _is_asked(each, row, level, everything))


def climb(task: Task, say: Callable[[str | Row], None]) -> None:
    """Say the row of one model after each level."""
    tempfile.tempdir = str(task.folder)  # what a model leaves there goes with it
    row = Row(task.model, task.module)
    for level in LEVELS:
        if task.known is not None and _stays(task.known, row, level):
            row = _taken_over(row, task.known, level)
        elif _is_asked(level, row, task.level, task.everything):
            say(level)
            row = _run(level, row, task)
        else:
            continue
        say(row)
        if row.failure is not None:
            return


def _is_asked(level: str, row: Row, highest: str, everything: bool) -> bool:
    """Whether a level is one of those asked for, and says something of such a row."""
    if level == "port":
        return True
    applies = row.outcome == "converted" and (row.whole or everything or level not in _OF_WHOLE_FILES)
    if level == "graph" and (row.lowering or {}).get("outcome") != "converts":
        return False  # there is none
    return applies and LEVELS.index(level) <= LEVELS.index(highest)


def _stays(known: Row, row: Row, level: str) -> bool:
    """Whether what is known of a level holds for the port that the row has now."""
    return level != "port" and TEXT in row.identity and known.identity.get(level) == _identity(row, level)


def _identity(row: Row, level: str) -> str:
    return identities().of_level(level, row.identity[TEXT])


def _taken_over(row: Row, known: Row, level: str) -> Row:
    field: dict[str, Any] = {level: getattr(known, level)}
    seconds = {level: known.seconds[level]} if level in known.seconds else {}
    identity = {**row.identity, level: known.identity[level]}
    return replace(row, **field, seconds={**row.seconds, **seconds}, identity=identity)


def _run(level: str, row: Row, task: Task) -> Row:
    begun = _spent()
    try:
        found = FIND[level](task)
    except NoAnswer as error:
        return replace(row, failure={"level": level, "what": str(error)})
    except Exception as error:  # porter's own fault, or what a model raises
        return replace(row, failure={"level": level, "what": _told(error)})
    if level != "port":
        found = {level: found, "identity": {**row.identity, level: _identity(row, level)}}
    return replace(row, **found, seconds={**row.seconds, level: round(_spent() - begun, 1)})


def _spent() -> float:
    """Seconds of processors, also of processes that this one waited for: what others do at the same time is none."""
    return sum(os.times()[:4])


def _told(error: Exception) -> str:
    """What was raised, and where."""
    lines = str(error).strip().splitlines()
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = "".join(f" ({Path(frame.filename).name}:{frame.lineno})" for frame in last)
    return f"{type(error).__name__}{': ' if lines else ''}{lines[0][:300] if lines else ''}{place}"

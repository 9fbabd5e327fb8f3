"""`porter matrix`: every causal language model of the installed transformers, a row each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from porter.cli.idle import refuse_idle
from porter.cli.models import other_release_installed
from porter.cli.rulebook import rulebook, rules_option
from porter.cli.talk import DONE, FAILED, Command, on_terminal, put_report, refuse, say, steps
from porter.diagnostics import Diagnostic, Refused
from porter.matrix.row import LEVELS, Row, is_wrong, lacks, worse

if TYPE_CHECKING:
    from porter.matrix.record import Record
    from porter.matrix.run import Began
    from porter.rulebook import LoadedRule

JOBS = max(1, (os.cpu_count() or 1) // 2)


@click.command(cls=Command)
@click.option("--models", metavar="NAME,...", multiple=True, help="Only these, say llama,qwen3 [all].")
@click.option("--level", type=click.Choice(LEVELS), default="parity", show_default=True, help="Up to which one.")
@rules_option
@click.option("--all", "everything", is_flag=True, help="Capture and lower files that are not whole, too.")
@click.option("--jobs", type=click.IntRange(1), default=JOBS, help="Models at once [half of the cores].")
@click.option("--timeout", type=click.FloatRange(1), default=300, show_default=True, help="Seconds for a level.")
@click.option("--memory", type=click.FloatRange(1), default=12, show_default=True, help="GiB for a process.")
@click.option("--json", "file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="Keep rows here.")
@click.option("--fresh", is_flag=True, help="Find every row again, also what is in FILE and still holds.")
@click.option("-v", "--verbose", is_flag=True, help="Print a row for each model, where none is named, too.")
def matrix(
    models: tuple[str, ...],
    level: str,
    folders: tuple[Path, ...],
    everything: bool,
    jobs: int,
    timeout: float,
    memory: float,
    file: Path | None,
    fresh: bool,
    verbose: bool,
) -> int:
    """Convert, compare, capture and lower every causal language model of the installed transformers: a row each.

    Levels: port (what convert makes of it), parity (one tiny configuration against the source), variants (every check
    of verify), capture, lowering, graph (what was lowered, executed on the CPU). Each includes those before it; the
    last four are for whole files.

    Each model has a process of its own. Rows in FILE whose source, rules and porter are as they were are not found
    again, so a run that was interrupted goes on. Exit 0 when no model made porter fail and every port computes what
    its source does, however many were refused.

    \b
    Examples:
      porter matrix --models llama,qwen3 --level lowering
      porter matrix --jobs 2 --json matrix.json
      porter matrix --models vaultgemma --rules ./rules
    """
    refuse_idle(file is not None, "without --json FILE", "fresh")
    refuse_idle(level not in LEVELS[:2], f"at --level {level}", "everything")
    names = [name for words in models for name in words.replace(",", " ").split()]
    asked = _asked(names, level, file, folders)
    if isinstance(asked, Refused):
        return refuse(asked, as_json=False)
    modules, rules, there = asked
    from porter.matrix.processes import Limits
    from porter.matrix.record import CannotWrite, Record
    from porter.matrix.run import run
    from porter.report.matrix import of_matrix

    record = Record(file, {model: row for model, row in there.items() if names or row.module in modules})
    known = {} if fresh else there
    limits = Limits(timeout, memory)
    found = run(modules, level=level, rules=rules, known=known, everything=everything, jobs=jobs, limits=limits)
    try:
        record.write()
        rows = list(_told(found, record, there, len(modules)))
    except CannotWrite as error:
        return refuse(Refused((Diagnostic("P074", str(error), help="give --json another file"),)), as_json=False)
    rows.sort(key=lambda row: row.module)
    put_report(of_matrix(rows, verbose=verbose or bool(names)))
    return FAILED if any(is_wrong(row) for row in rows) else DONE


def _asked(
    names: list[str], level: str, file: Path | None, folders: tuple[Path, ...]
) -> tuple[tuple[str, ...], tuple[LoadedRule, ...], dict[str, Row]] | Refused:
    """The modules, the rules and the rows that are there."""
    from porter.matrix.library import chosen
    from porter.matrix.record import read_record

    modules = (other_release_installed() if level != "port" else None) or chosen(names)
    if isinstance(modules, Refused):
        return modules
    there = {} if file is None else read_record(file)
    if isinstance(there, Refused):
        return there
    rules = rulebook(folders)
    return rules if isinstance(rules, Refused) else (modules, rules, there)


def _told(found: Iterator[Began | Row], record: Record, there: dict[str, Row], total: int) -> Iterator[Row]:
    """The rows, each kept and told as it comes; then what is worse than it was, or no longer known."""
    from porter.report.matrix import of_row

    at_work: dict[str, str] = {}
    rows: list[Row] = []
    with steps("matrix", forks=True) as tell:
        for told in found:
            if not isinstance(told, Row):
                at_work[told.model] = told.level
            else:
                at_work.pop(told.model, None)
                if told is not there.get(told.model):
                    record.keep(told)
                    tell(of_row(told), len(rows), total)
                rows.append(told)
                yield told
            if on_terminal():
                tell(", ".join(f"{model} {level}" for model, level in at_work.items()), len(rows), total)
    _say_what_was_lost([(row, there[row.model]) for row in rows if row.model in there])


def _say_what_was_lost(pairs: list[tuple[Row, Row]]) -> None:
    """Of rows and what they were: in which respects they got worse, and levels that nothing is known of now."""
    for row, before in pairs:
        for respect in worse(row, before):
            say(f"{row.model} is worse than it was: {respect}")
    lost = [level for level in LEVELS for row, before in pairs if lacks(row, before, level)]
    if lost:
        levels = ", ".join(dict.fromkeys(lost))
        say(f"no longer known, as a port or what it runs on changed: {levels}; find it again with --level {lost[-1]}")

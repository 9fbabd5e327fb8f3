"""What each rule is worth in milliseconds: the port is made again without one rule at a time, and each is predicted.

Contract: as `lowering.contribution`, whose ports these are: temporary, made by the port's own options. The source, with
eager attention and a growing cache, is predicted beside them. All in one process. A cache that grows, the source's and
that of a port without the attention rule, changes the shapes from step to step, which makes each launch dearer.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from porter.diagnostics import Refused
from porter.lowering.contribution import Contribution, open_to_remake
from porter.lowering.installation import Progress
from porter.predict.asked import ask
from porter.predict.chips import Chip
from porter.predict.predict import asked_of, checked_configuration
from porter.predict.steps import steps_of
from porter.predict.workload import Workload
from porter.rulebook import LoadedRule


@dataclass(frozen=True)
class Worth:
    """Both steps, in milliseconds, of the port without one rule, and without those that require it (`also`). `without`
    is empty for all rules; the source has neither. `stopped`: why nothing is predicted."""

    without: str
    also: tuple[str, ...] = ()
    prefill: float | None = None
    decode: float | None = None
    stopped: str = ""


@dataclass(frozen=True)
class ByRule:
    name: str
    chip: Chip
    workload: Workload
    ports: tuple[Worth, ...]  # with all rules first
    source: Worth


def by_rule(
    directory: Path,
    workload: Workload,
    chip: Chip,
    *,
    config_json: Path | None = None,
    rules: tuple[str, ...] = (),
    book: tuple[LoadedRule, ...] | None = None,
    progress: Progress | None = None,
    trust_remote_code: bool = False,
) -> ByRule | Refused:
    """Without each of `rules`, or of those the port was made with; all rules first.

    Refused as `predict` is, but for what does not lower, which stands in its row; and where its source is gone.
    """
    opened = open_to_remake(directory, trust_remote_code=trust_remote_code)
    if isinstance(opened, Refused):
        return opened
    tell = progress or (lambda *step: None)
    config = checked_configuration(opened.port, workload, chip, config_json, tell)
    if isinstance(config, Refused):
        return config
    with tempfile.TemporaryDirectory(prefix="porter-by-rule-") as name:
        made = opened.without_each(rules, book, Path(name))
        ports = [there for _, there in made if there is not None]
        asked = [asked_of(there, workload, config) | {"called": _called(entry)} for entry, there in made if there]
        asked.append(asked_of(ports[0], workload, config, "source"))
        answers = ask(asked, chip.name, tell)
    if isinstance(answers, Refused):
        return answers
    *of_ports, of_source = answers
    left = iter(of_ports)
    rows = tuple(_worth(entry, next(left) if there else None, workload, chip) for entry, there in made)
    return ByRule(opened.port.name, chip, workload, rows, _worth(Contribution(""), of_source, workload, chip))


def _called(entry: Contribution) -> str:
    return f"without {entry.without}" if entry.without else "all rules"


def _worth(entry: Contribution, answer: Mapping[str, Any] | None, workload: Workload, chip: Chip) -> Worth:
    stopped = entry.refused if answer is None else answer["failure"]
    if answer is None or stopped:
        return Worth(entry.without, entry.also, stopped=stopped)
    steps = steps_of(answer, workload, chip)
    return Worth(entry.without, entry.also, steps["prefill"].milliseconds, steps["decode"].milliseconds)

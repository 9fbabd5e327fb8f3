"""Every probe in a process of its own, in turn; the record written after each word.

Contract: a probe that hangs, crashes or runs out of memory is lost alone: what it said before stays, and the next one
runs. What a record of the same port, porter, place and options has answered is not asked again, unless `fresh`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from porter.accept.probe import LOST, NOT_RUN, Probe
from porter.accept.record import goes_on, is_done, now, outcome_of, write_record
from porter.matrix.processes import Ended, Limits, Said, run_each

SLOWER = 5  # a probe that loads or compiles models has that many times the limit


@dataclass(frozen=True)
class Told:
    """A probe has its outcome. `kept`: it had it before."""

    probe: Probe
    outcome: str
    detail: str
    kept: bool = False


def run(
    folder: Path,
    record: dict[str, Any],
    others: Sequence[Mapping[str, Any]],
    probes: Sequence[Probe],
    *,
    limits: Limits,
    fresh: bool = False,
) -> Iterator[Told]:
    """Fill the record's probes, and keep it in the port's folder. Raises OSError where it cannot be written."""
    before = next((other for other in others if goes_on(record, other)), None)
    known = {} if fresh or before is None else before["probes"]
    if known and before is not None:
        record["started"] = before["started"]
    write_record(folder, record, others)
    for probe in probes:
        if is_done(known.get(probe.name)):
            record["probes"][probe.name] = known[probe.name]
            yield Told(probe, known[probe.name]["outcome"], known[probe.name]["detail"], kept=True)
            continue
        said = {"part": probe.part, "title": probe.title, "about": probe.about, "used": probe.used}
        record["probes"][probe.name] = {**said, "outcome": None, "detail": "", "entries": []}
        _ask(probe, record, folder, others, limits)
        found = record["probes"][probe.name]
        write_record(folder, record, others)
        yield Told(probe, found["outcome"], found["detail"])
    record["finished"] = now()
    write_record(folder, record, others)


def _ask(
    probe: Probe, record: dict[str, Any], folder: Path, others: Sequence[Mapping[str, Any]], limits: Limits
) -> None:
    found = record["probes"][probe.name]
    if probe.work is None:
        found |= {"outcome": NOT_RUN, "detail": probe.reason}
        return
    if probe.slow:
        limits = Limits(limits.seconds * SLOWER, limits.memory)
    with tempfile.TemporaryDirectory(prefix="porter-accept-") as name:
        for told in run_each([probe.work], [Path(name) / "log"], jobs=1, limits=limits):
            if isinstance(told, Said):
                found["entries"].append(told.word)
                write_record(folder, record, others)
            elif isinstance(told, Ended):
                outcome = LOST if told.fault else outcome_of(found["entries"])
                found |= {"outcome": outcome, "detail": told.fault or _told(found["entries"], outcome)}


def _told(entries: Sequence[Mapping[str, Any]], outcome: str) -> str:
    """What the first entry of the probe's outcome says."""
    return next((entry.get("detail", "") for entry in entries if entry["outcome"] == outcome), "")

"""Figures that were recorded of a port: rows of a matrix, and what `porter verify`, `lower` and `prove` print as JSON.

Contract: nothing is run. A matrix's row counts only where it is of this very text of the port and its source; any other
document is what was handed in, and is named. What nobody recorded is said to be not recorded, with the command for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from porter.matrix.identity import text_named
from porter.matrix.record import FORMAT
from porter.report.review.drawing import Phase
from porter.report.review.figures import NOT_RECORDED, NOT_RUN, Figure, of_phases
from porter.report.review.printed import of_checks, of_execution, of_proofs, phases_of_lowering, without_rules
from porter.report.review.rows import of_row, phases_of_row


@dataclass(frozen=True)
class Subject:
    """The port that the figures are of. `codes` is its code, without the header, as it may have been."""

    name: str
    folder: str
    module: str | None
    sha256: str
    codes: tuple[str, ...]
    rules: tuple[str, ...]


@dataclass(frozen=True)
class Document:
    """A record as read, and its file's name."""

    file: str
    data: dict[str, Any]


@dataclass(frozen=True)
class Recorded:
    """What the documents say of one port."""

    figures: tuple[Figure, ...]
    phases: tuple[Phase, ...] = ()
    phases_in: str = ""
    without: tuple[tuple[str, str], ...] = ()  # rule -> what a layer costs without it
    note: str = ""


def fault_of(data: Any, subject: Subject) -> str | None:
    """Why a document is no record of this port."""
    if not isinstance(data, dict):
        return "it holds no JSON object"
    if isinstance(data.get("rows"), list):
        return None if data.get("format") == FORMAT else f"its rows have format {data.get('format')!r}, not {FORMAT}"
    if isinstance(data.get("proofs"), list):
        return None
    whose = data.get("name") or str(data.get("folder", "")).rstrip("/").rpartition("/")[2]
    if not any(isinstance(data.get(key), list) for key in ("checks", "port", "rules")) or not whose:
        return "it is not what `porter verify`, `lower`, `prove` with --json or `porter matrix --json FILE` write"
    return None if whose == subject.name else f"it is of `{whose}`, not of `{subject.name}`"


def recorded(subject: Subject, documents: Sequence[Document]) -> Recorded:
    """All that is known of the port. Raises LookupError, TypeError or ValueError for what is no record inside."""
    row, where, note = _row_of(subject, documents)
    figures = of_row(row, where)
    phases, phases_in = phases_of_row(row), where
    without: tuple[tuple[str, str], ...] = ()
    for document in documents:
        data = document.data
        file = f"{document.file}, handed in{', of a port edited by hand' if data.get('edited') else ''}"
        if "proofs" in data:
            figures["rules"] = of_proofs(data["proofs"], subject.rules, file)
        elif "checks" in data:
            level = data.get("level", "parity")
            figures[level] = of_checks(data["checks"], level, file)
        elif "port" in data:
            phases, phases_in = phases_of_lowering(data), file
            figures["lowering"] = of_phases(phases, f"torch_npu {data['torch_npu']}, {data['soc']}", file)
            if "execution" in data:
                figures["graph"] = of_execution(data["execution"], file)
        elif "rows" not in data:
            without = tuple(without_rules(data["rules"]))
    return Recorded(tuple(_all(figures, subject)), phases, phases_in if phases else "", without, note)


def _row_of(subject: Subject, documents: Iterable[Document]) -> tuple[dict[str, Any], str, str]:
    """The last row of this text, where it is from, and a word on a row of another text."""
    note = ""
    for document in reversed([*documents]):
        for row in document.data.get("rows") or ():
            if subject.module is None or row["module"] != subject.module or "identity" not in row:
                continue
            names = [text_named(subject.sha256, code) for code in subject.codes]
            if row["identity"].get("text") in names:
                return row, document.file, ""
            note = f"{document.file} has a row of this model, made of another text of the port or of its source"
    return {}, "", note


def _all(figures: dict[str, Figure], subject: Subject) -> Iterable[Figure]:
    """Every claim in its order; what is not recorded with its command; last what no one has run."""
    asked = {
        "rules": f"porter prove {' '.join(subject.rules)}",
        "parity": f"porter verify {subject.folder}",
        "capture": f"porter verify {subject.folder} --level capture",
        "lowering": f"porter lower {subject.folder} --baseline",
        "graph": f"porter lower {subject.folder} --execute",
    }
    for claim, command in asked.items():
        found = figures.get(claim, Figure(claim, NOT_RECORDED, ""))
        yield Figure(found.claim, found.outcome, found.said, found.source, command)
    if "contract" in figures:
        yield figures["contract"]
    yield Figure("device", NOT_RUN, "kernel: not run")

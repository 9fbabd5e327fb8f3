"""`accept.json` beside a port: what was run on which device, probe by probe; read, kept, written whole or not at all.

Contract: a file holds one record for each place (kind of device, chip, versions), the newest; another place's stays as
it is. A record is gone on with only for the same port, porter, place and options. It is written after every word of a
probe by a rename, so that whatever ends the run leaves a record that can be read. What cannot be read is never written
over.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import porter
from porter.accept.probe import AGREES, DIFFERS, LOST, NOT_RUN, NOTED
from porter.diagnostics import Refused, refused
from porter.emit.account import FILE as ACCOUNT
from porter.emit.account import RECORD as FILE
from porter.emit.swap import replace_file

SCHEMA = 1
COMPUTING = ("npu", "runtime")  # what a port's figures hang on, besides its own text
_PROBING = ("accept", "verify", "bench", "runner", "parallel", "lowering")


def read_records(folder: Path) -> list[dict[str, Any]] | Refused:
    """All records of a port; none where there is no file. P175 for a file that is no such record."""
    path = folder / FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        return _unreadable(path, str(error))
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        found = document.get("schema") if isinstance(document, dict) else None
        return _unreadable(path, f"it is of schema {found}, this porter writes {SCHEMA}")
    return list(document["records"])


def _unreadable(path: Path, reason: str) -> Refused:
    return refused("P175", f"`{path}` is no record that this porter can read", "move it away, and run again", reason)


def write_record(folder: Path, record: Mapping[str, Any], others: Iterable[Mapping[str, Any]]) -> None:
    """The record beside those of other places. Raises OSError, and then the file is what it was."""
    kept = [other for other in others if other["place"] != record["place"]]
    document = {"schema": SCHEMA, "records": [*kept, record]}
    replace_file(folder / FILE, (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode())


def new_record(
    folder: Path,
    device: Mapping[str, Any],
    versions: Mapping[str, str],
    parts: list[dict[str, Any]],
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """A record without probes."""
    place = {"kind": device["kind"], "chip": device["name"], "versions": dict(versions)}
    return {
        "place": place,
        "device": dict(device),
        "rehearsal": device["kind"] != "npu",
        "port": {"name": json.loads((folder / ACCOUNT).read_text(encoding="utf-8"))["name"], "text": port_text(folder)},
        "porter": {"version": porter.__version__, "computing": code_of(COMPUTING), "probing": code_of(_PROBING)},
        "parts": parts,
        "options": dict(options),
        "started": now(),
        "finished": None,
        "probes": {},
    }


def goes_on(record: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether what `other` found is what `record` would find."""
    return all(record[name] == other[name] for name in ("place", "port", "porter", "options"))


def is_done(probe: Mapping[str, Any] | None) -> bool:
    """Whether a probe has an answer of its own; one that was lost is asked again."""
    return probe is not None and probe["outcome"] not in (None, LOST)


def outcome_of(entries: Iterable[Mapping[str, Any]]) -> str:
    """Of a probe that ended by itself: the worst of its entries; `not run` where none was."""
    there = {entry["outcome"] for entry in entries}
    return next((one for one in (LOST, DIFFERS, AGREES) if one in there), NOTED if NOTED in there else NOT_RUN)


def counted(record: Mapping[str, Any], part: str | None = None) -> dict[str, int]:
    """How many probes came to each outcome; `part`: of one part alone."""
    outcomes = [
        probe["outcome"] or LOST for probe in record["probes"].values() if part is None or probe["part"] == part
    ]
    return {one: outcomes.count(one) for one in (AGREES, DIFFERS, LOST, NOTED, NOT_RUN) if one in outcomes}


def worst_ulp(entry: Mapping[str, Any]) -> float:
    """How far the device is from the truth at most, in the dtype that the call is in, where a result is."""
    figures = entry.get("figures") or {}
    own = figures.get(entry.get("dtype"))
    return own["after_ulp"] if own else max((one["after_ulp"] for one in figures.values()), default=0.0)


def is_accepted(record: Mapping[str, Any]) -> bool:
    """Whether everything was asked, and nothing of it differs or was lost."""
    outcomes = {probe["outcome"] for probe in record["probes"].values()}
    return record["finished"] is not None and not outcomes & {DIFFERS, LOST, None}


def port_text(folder: Path) -> str:
    """One name for all that a port runs: its Python files and its account."""
    files = sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)
    return _digest((folder, path) for path in (*files, folder / ACCOUNT))


def code_of(rooms: Iterable[str]) -> str:
    """One name for the text of some of porter's rooms."""
    package = Path(porter.__file__).parent
    paths = (path for room in rooms for path in _files(package / room))
    return _digest((package, path) for path in paths)


def now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def _files(place: Path) -> list[Path]:
    return [place] if place.is_file() else sorted(place.rglob("*.py"))


def _digest(files: Iterable[tuple[Path, Path]]) -> str:
    named = (f"{path.relative_to(root)} {hashlib.sha256(path.read_bytes()).hexdigest()}" for root, path in files)
    return hashlib.sha256("\n".join(named).encode()).hexdigest()[:16]

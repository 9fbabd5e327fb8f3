"""A port -> its folder on disk and its line in the registry, whole or not at all; or compared with what is there.

Everything is rendered before anything is written. A folder that exists is replaced only when told so, and only where
porter wrote all that is in it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from porter.diagnostics import Diagnostic, Refused, refused
from porter.emit.account import FILE, RECORD, read_account
from porter.emit.registry import NAME, damaged_neighbours, heal, registry_text
from porter.emit.render import Rendered, render_port
from porter.emit.swap import alone_in, replace_folder
from porter.rewrite import Ported

_BESIDE = ("__pycache__", RECORD)  # what running a port leaves in its folder
_LEFTOVER = ".porter-"  # what an interrupted run may leave


@dataclass(frozen=True)
class Written:
    """What was written. `registry` is None where the folder is not named as the port: no loader would look there."""

    folder: Path
    files: tuple[str, ...]
    registry: Path | None
    replaced: bool
    warnings: tuple[Diagnostic, ...] = ()  # ports beside it that are damaged: none of them is listed


@dataclass(frozen=True)
class Difference:
    """A file that is not what converting again gives. `line` is the first that differs, from 1."""

    file: str
    problem: str  # "differs", "missing" or "not from porter"
    line: int | None = None
    there: str | None = None
    expected: str | None = None


def emit(ported: Ported, out: Path, *, force: bool = False) -> Written | Refused:
    """Write the port to the folder `out` and list it in the registry beside it."""
    place = Path(os.path.realpath(out))
    rendered = render_port(ported, place)
    made: list[Path] = []
    outcome: Written | Refused
    try:
        made = _missing_parents(place)
        if Path(os.path.realpath(ported.source.path)).is_relative_to(place):
            message = f"the source `{ported.source.path}` lies in the folder that the port would replace"
            return refused("P143", message, "give `--out` another folder")
        refusal = occupied(place, force=force)
        if refusal is not None:
            return refusal
        place.parent.mkdir(parents=True, exist_ok=True)
        heal(place.parent)
        with alone_in(place.parent):
            outcome = _write(rendered, place, force=force)
    except OSError as error:
        outcome = _failed(place, error)
    if isinstance(outcome, Refused):
        for folder in made:
            _remove_empty(folder)
    return outcome


def occupied(place: Path, *, force: bool) -> Refused | None:
    """Why no port may be written to `place`, if so."""
    if not os.path.lexists(place):
        above = next((folder for folder in place.parents if os.path.lexists(folder)), place)
        if not above.is_dir():
            return refused("P071", f"`{above}` is not a folder", "give `--out` a folder in one")
        return None
    if not place.is_dir():
        return refused("P071", f"`{place}` is not a folder", "give `--out` a folder that does not exist yet")
    if not force:
        advice = "use `--force` to replace it, or give another `--out`"
        return refused("P010", f"the folder `{place}` exists already", advice)
    there = {entry.name for entry in place.iterdir()}
    if not there:
        return None
    advice = "give another `--out`, or move that folder away yourself"
    account = read_account(place)
    if isinstance(account, Refused):
        reason = f"no {FILE} of a port in it" if FILE in there else f"no {FILE} in it"
        return refused("P071", f"the folder `{place}` is not a port: it is not replaced", advice, reason)
    others = there - {FILE, *_BESIDE, *account["files"]}
    strangers = sorted(name for name in others if not name.startswith(_LEFTOVER))
    if strangers:
        reason = f"porter did not write {', '.join(f'`{name}`' for name in strangers)}"
        return refused("P071", f"the folder `{place}` holds more than a port: it is not replaced", advice, reason)
    return None


def check(ported: Ported, out: Path) -> list[Difference] | Refused:
    """What differs between the folder `out`, with its registry, and what converting again gives. Writes nothing."""
    place = Path(os.path.realpath(out))
    rendered = render_port(ported, place)
    found = {entry.name for entry in place.iterdir()} if place.is_dir() else set()
    differences = [_compare(place / name, name, data) for name, data in sorted(rendered.files.items())]
    differences += [Difference(name, "not from porter") for name in sorted(found - {*rendered.files, *_BESIDE})]
    if place.name == ported.name:
        table = registry_text(place.parent, rendered.account)
        if isinstance(table, Refused):
            return table
        differences.append(_compare(place.parent / NAME, f"../{NAME}", table.encode("utf-8")))
    return [difference for difference in differences if difference is not None]


def _write(rendered: Rendered, place: Path, *, force: bool) -> Written | Refused:
    refusal = occupied(place, force=force)  # another porter may have been faster
    if refusal is not None:
        return refusal
    replaced = place.exists()
    table, warnings = None, tuple[Diagnostic, ...]()
    if place.name == rendered.account["name"]:
        text = registry_text(place.parent, rendered.account)
        if isinstance(text, Refused):
            return text
        table = (place.parent / NAME, text.encode("utf-8"))
        warnings = damaged_neighbours(place.parent, place.name)
    record = place / RECORD  # it says itself which port it is about
    kept = {RECORD: record.read_bytes()} if record.is_file() else {}
    replace_folder(place, {**rendered.files, **kept}, table)
    return Written(place, tuple(sorted(rendered.files)), table and table[0], replaced, warnings)


def _compare(path: Path, name: str, expected: bytes) -> Difference | None:
    try:
        there = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return Difference(name, "missing")
    if there == expected:
        return None
    old, new = there.decode("utf-8", "replace").split("\n"), expected.decode("utf-8", "replace").split("\n")
    pairs = enumerate(zip(old, new, strict=False))
    line = next((number for number, (one, other) in pairs if one != other), min(len(old), len(new)))
    first = [lines[line] if line < len(lines) else None for lines in (old, new)]
    return Difference(name, "differs", line + 1, *first)


def _missing_parents(place: Path) -> list[Path]:
    """Folders that writing will have to make, innermost first."""
    return [folder for folder in place.parents if not folder.exists()]


def _remove_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return  # somebody else's by now, or never made


def _failed(place: Path, error: OSError) -> Refused:
    where = error.filename2 or error.filename or place
    reason = f"{error.strerror or error} (`{os.fsdecode(where) if isinstance(where, bytes) else where}`)"
    return refused("P074", f"cannot write `{place}`: {error.strerror or error}", "nothing was changed", reason)

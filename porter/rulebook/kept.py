"""Rules as they were loaded once, kept in porter's cache folder: the same texts are not parsed and checked again.

Contract: what is kept is named after everything it was made from: the texts of the folder of rules, the code that
reads them, LibCST and Python. It is written whole or not at all, read only where it is the user's own, and a cache that
cannot be written, read or understood is none: then the rules are loaded from their files.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from libcst import LIBCST_VERSION

from porter.shipped import cache_folder
from porter.source.depth import room_to_recurse

if TYPE_CHECKING:
    from porter.rulebook.loaded import LoadedRule

_KEPT = 4  # folders of rules, or states of one, that stay
_READERS = ("rulebook", "tree", "diagnostics", "source")  # rooms whose classes are kept, or that make them


def name_of_kept(rules: Path) -> str | None:
    """The name under which the rules of a folder are kept; None where a file of it cannot be read."""
    digest = hashlib.sha256(f"{sys.implementation.cache_tag} {LIBCST_VERSION} {rules.name}".encode())
    package = Path(__file__).parents[1]
    try:
        for room in _READERS:
            for file in sorted(os.scandir(package / room), key=lambda entry: entry.name):
                known = file.stat()
                digest.update(f"{file.path} {known.st_mtime_ns} {known.st_size}\n".encode())
        for path in sorted([*rules.glob("*.py"), *rules.glob("*/*.py")]):
            if not path.is_file():  # a pipe would be waited for
                return None
            data = path.read_bytes()
            digest.update(f"{path.relative_to(rules)} {len(data)}\n".encode() + data)
    except OSError:
        return None
    return digest.hexdigest()


def kept(name: str) -> tuple[LoadedRule, ...] | None:
    """The rules kept under a name."""
    path = _folder() / name
    try:
        if path.stat().st_uid != os.getuid() or _folder().stat().st_mode & 0o022:
            return None
        with room_to_recurse():
            found = pickle.loads(path.read_bytes())
    except Exception:  # whatever a damaged file makes of itself: the rules are there to be loaded
        return None
    return found if isinstance(found, tuple) else None


def keep(name: str, rules: tuple[LoadedRule, ...]) -> None:
    """Keep loaded rules under a name, and forget the oldest."""
    folder = _folder()
    with suppress(OSError, RecursionError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with room_to_recurse():
            data = pickle.dumps(rules, pickle.HIGHEST_PROTOCOL)
        number, written = tempfile.mkstemp(dir=folder)
        with os.fdopen(number, "wb") as file:
            file.write(data)
        os.replace(written, folder / name)
        for old in sorted(folder.iterdir(), key=lambda path: -path.stat().st_mtime)[_KEPT:]:
            old.unlink(missing_ok=True)


def _folder() -> Path:
    return cache_folder() / "rules"

"""Rules as they were loaded once, kept in porter's cache folder: the same texts are not parsed and checked again.

Contract: what is kept is named after everything it was made from: the texts of the folder of rules, the code that
reads them, LibCST and Python. It is written whole or not at all, read only where it is the user's own, and a cache that
cannot be written, read or understood is none: then the rules are loaded from their files.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import sys
import tempfile
import zlib
from contextlib import suppress
from dataclasses import fields
from functools import partial
from pathlib import Path

import libcst
from libcst import LIBCST_VERSION

from porter.rulebook.identities import Identities
from porter.rulebook.loaded import Code, LoadedRule
from porter.shipped import cache_folder
from porter.source.depth import room_to_recurse
from porter.tree.collector import paused_collector

_KEPT = 4  # folders of rules, or states of one, that stay
_CHECK = 4  # bytes of checksum before what is kept
# What is known without the code, wherever the folder lies.
_LIGHT = tuple(field.name for field in fields(LoadedRule) if field.name not in ("fetch", "folder"))
_SHARED = frozenset(  # classes are compared: `isinstance` is slow, for LibCST's are abstract
    {
        *(libcst.SimpleWhitespace, libcst.ParenthesizedWhitespace, libcst.Newline, libcst.TrailingWhitespace),
        *(libcst.EmptyLine, libcst.Comma, libcst.Dot, libcst.AssignEqual, libcst.Colon, libcst.LeftParen),
        *(libcst.RightParen, libcst.LeftSquareBracket, libcst.RightSquareBracket, Identities),
    }
)
_READERS = ("rulebook", "tree", "diagnostics", "source")  # rooms whose classes are kept, or that make them


def name_of_kept(rules: Path, base: Path | None = None) -> str | None:
    """The name under which the rules of a folder are kept; None where a file of it cannot be read.

    base: porter's own rules, whose shared files a folder beside them takes from.
    """
    digest = hashlib.sha256(f"{sys.implementation.cache_tag} {LIBCST_VERSION} {rules.name}".encode())
    package = Path(__file__).parents[1]
    try:
        for file in [
            package / "rule.py",
            *(file for room in _READERS for file in sorted(package.glob(f"{room}/*.py"))),
        ]:
            known = file.stat()
            digest.update(f"{file} {known.st_mtime_ns} {known.st_size}\n".encode())
        read = [(rules, path) for path in sorted([*rules.glob("*.py"), *rules.glob("*/*.py")])]
        if base is not None:
            read += [(base, path) for path in (package / "npu" / "torch_npu.py", *sorted(base.glob("shared/*.py")))]
        for folder, path in read:
            if not path.is_file():  # a pipe would be waited for
                return None
            data = path.read_bytes()
            digest.update(f"{os.path.relpath(path, folder)} {len(data)}\n".encode() + data)
    except OSError:
        return None
    return digest.hexdigest()


def kept(name: str) -> tuple[LoadedRule, ...] | None:
    """The rules kept under a name; the code of each is read when it is asked for."""
    path = _folder() / name
    try:
        if path.stat().st_uid != os.getuid() or _folder().stat().st_mode & 0o022:
            return None
        data = path.read_bytes()
        if _check(data[_CHECK:]) != data[:_CHECK]:
            return None
        with suppress(OSError):
            os.utime(path)  # what is used is not the oldest
        with room_to_recurse():
            shared, known, codes = pickle.loads(data[_CHECK:])
        fetchers = (partial(_read_code, code, shared) for code in codes)
        return tuple(LoadedRule(**each, fetch=fetcher) for each, fetcher in zip(known, fetchers, strict=True))
    except Exception:  # whatever a damaged file makes of itself: the rules are there to be loaded
        return None


def keep(name: str, rules: tuple[LoadedRule, ...]) -> None:
    """Keep loaded rules under a name, and forget the oldest."""
    folder = _folder()
    with suppress(OSError, RecursionError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        data = _pickled(rules)
        number, written = tempfile.mkstemp(dir=folder)
        with os.fdopen(number, "wb") as file:
            file.write(_check(data) + data)
        os.replace(written, folder / name)
        for old in sorted(folder.iterdir(), key=lambda path: -path.stat().st_mtime)[_KEPT:]:
            old.unlink(missing_ok=True)


def _check(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(_CHECK, "big")


def _pickled(rules: tuple[LoadedRule, ...]) -> bytes:
    """What rules share, and each rule, its code in a pickle of its own."""
    with room_to_recurse():
        common = _Common()
        codes = [common.pickled(rule.code) for rule in rules]
        known = [{name: getattr(rule, name) for name in _LIGHT} for rule in rules]
        return pickle.dumps((common.shared, known, codes), pickle.HIGHEST_PROTOCOL)


class _Common:
    """What codes have in common: the identities, and layout (commas, spaces), which is half of all nodes of a tree."""

    def __init__(self) -> None:
        self.shared: list[object] = []
        self._places: dict[object, int] = {}

    def pickled(self, code: Code) -> bytes:
        buffer = io.BytesIO()
        pickler = pickle.Pickler(buffer, pickle.HIGHEST_PROTOCOL)
        pickler.persistent_id = self._place  # type: ignore[method-assign]
        pickler.dump(code)
        return buffer.getvalue()

    def _place(self, thing: object) -> int | None:
        if thing.__class__ not in _SHARED:
            return None
        place = self._places.setdefault(_content(thing), len(self.shared))
        if place == len(self.shared):
            self.shared.append(thing)
        return place


def _content(thing: object) -> object:
    """What makes two pieces of layout one."""
    if isinstance(thing, libcst.CSTNode):
        return type(thing), *(_content(getattr(thing, field.name)) for field in fields(thing))
    return tuple(map(_content, thing)) if isinstance(thing, (list, tuple)) else thing


def _read_code(kept: bytes, shared: list[object]) -> Code:
    with room_to_recurse(), paused_collector():
        reader = pickle.Unpickler(io.BytesIO(kept))
        reader.persistent_load = shared.__getitem__  # type: ignore[method-assign]
        found: Code = reader.load()
        return found


def _folder() -> Path:
    return cache_folder() / "rules"

"""What the result of a level hangs on: the texts of the source, of the rules and of the code of porter that has a say.

Contract: two results of one identity are the same result, so the second need not be computed. A port's own text stands
for all that made it: rules that leave it as it was leave what was found by running it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from porter.rulebook import LoadedRule
from porter.shipped import shipped
from porter.source import Source
from porter.source.installed import version_of

_ROW = "matrix/findings.py"
_PORTING = (
    *("release", "source", "tree", "anatomy", "rulebook", "match", "plan", "rewrite", "emit"),
    *("convert.py", "rule.py", _ROW),
)
_RUNNING = ("release", "runtime", "npu", "verify", _ROW)
_LOWERING = (*_RUNNING, "lowering", "runner/lengths.py", "matrix/graphs.py")
_ROOMS = {
    **dict.fromkeys(("parity", "variants", "capture"), _RUNNING),
    "lowering": _LOWERING,
    "graph": (*_LOWERING, "graph"),
}
_NOT_RUN = {  # by room: what no level runs
    "verify": ("prove.py", "error_rule.py"),  # proofs of rules
    "release": ("*.json",),  # records of what was run: nothing that ports or runs reads them
}
TEXT = "text"  # where an identity has the name of a port's own text
_PACKAGES = ("torch", "transformers")


@dataclass(frozen=True)
class Identities:
    """Digests of rules and code, as they are now."""

    porting: str
    running: dict[str, str]  # by level

    def of_port(self, source: Source, rules: Iterable[LoadedRule] = ()) -> str:
        """Of what converting a source gives by some rules."""
        configuration = source.configuration.sha256 if source.configuration else ""
        own = [f"{rule.name} {rule.sha256}" for rule in rules if rule.folder is not None]
        return _digest((self.porting, source.sha256, configuration, *own))

    def of_level(self, level: str, text: str) -> str:
        """Of what running a port shows; `text` is what `text_of` says of it."""
        return _digest((self.running[level], text))


def text_of(source: Source, code: str) -> str:
    """One name for a source and the code of its port."""
    return text_named(source.sha256, code)


def text_named(sha256: str, code: str) -> str:
    """The same of a source whose hash alone is known."""
    return _digest((sha256, code))


@cache
def identities() -> Identities:
    """Of the porter that runs; reads all files that have a say, once a process."""
    return identities_of(Path(__file__).parents[1], shipped("rules"), shipped("templates"))


def identities_of(package: Path, rules: Path, templates: Path) -> Identities:
    """Of the package porter in a folder, with rules and templates in others."""
    made_by = _digest((*_of_folder(rules), *_of_folder(templates), *_of(package, _PORTING)))
    versions = [f"{name} {version_of(name)}" for name in _PACKAGES]
    running = {level: _digest((*versions, *_of(package, rooms))) for level, rooms in _ROOMS.items()}
    return Identities(made_by, running)


def _of(package: Path, names: Iterable[str]) -> Iterable[str]:
    for name in names:
        place = package / name
        if place.is_dir():
            yield from _of_folder(place, without=_NOT_RUN.get(name, ()))
        else:
            yield place.read_text(encoding="utf-8")


def _of_folder(folder: Path, without: Iterable[str] = ()) -> Iterable[str]:
    """A line for each file; `without`: patterns of names that are left out."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and not any(map(path.match, without)):
            yield f"{path.relative_to(folder)} {hashlib.sha256(path.read_bytes()).hexdigest()}"


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

"""What a port was made from, as its `port.json` has it: found again, seen to be the same, imported.

Contract: a module of an installed package is imported by its name; a file from where it lies, under a package of its
own, so that relative imports find what lies beside it, and without a trace in its folder. `check` only reads. What is
wrong is Refused at the line of `port.json` that it contradicts.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from porter.diagnostics import Diagnostic, Refused, Span
from porter.emit.account import FILE
from porter.emit.templated import convert_command
from porter.source.installed import locate_module


@dataclass(frozen=True)
class Origin:
    """The source of the port in `directory`: a module, or else a file by its path from there."""

    directory: Path
    port: str
    class_name: str
    module: str | None
    path: str | None
    sha256: str
    siblings: tuple[tuple[str, str], ...]  # files beside it that it imports: name, sha256
    options: dict[str, Any]

    def locate(self) -> Path | Refused:
        """The modeling file. P090 where there is none, or the account does not say where."""
        if self.module is not None:
            located = locate_module(self.module)
            if not isinstance(located, Refused):
                return located[0]
            message = f"`{self.module}`, which `{self.directory}` was made from, is not to be found"
            said = located.diagnostics[0]
            return self._refused("P090", message, json.dumps(self.module), said.message, said.help)
        if self.path is None:
            message = f"`{self.directory / FILE}` does not say where the file lies that the port was made from"
            return self._refused("P090", message, "", "", "convert it again")
        place = Path(os.path.normpath(self.directory.resolve() / self.path))
        return place if place.is_file() else self._gone(place, self.path, "seen from the port's folder")

    def check(self) -> Refused | None:
        """P090 for a file that is gone, P091 for one that is not what was ported."""
        place = self.locate()
        if isinstance(place, Refused):
            return place
        for file, sha256 in ((place, self.sha256), *((place.with_name(name), sha) for name, sha in self.siblings)):
            try:
                now = hashlib.sha256(file.read_bytes()).hexdigest()
            except OSError:
                return self._gone(file, file.name, "beside the modeling file")
            if now != sha256:
                message = f"`{file}` is not what `{self.directory}` was made from"
                help = f"convert it again: `{self._again()}`"
                return self._refused("P091", message, sha256, f"now it is {now}", help)
        return None

    def load_class(self) -> Any | Refused:
        """The class that was ported. P092 where the source does not load. `check` it first: this runs its code."""
        place = self.locate()
        if isinstance(place, Refused):
            return place
        try:
            module = importlib.import_module(self.module) if self.module else self._import_file(place)
            return getattr(module, self.class_name)
        except Exception as error:  # somebody else's code may raise anything
            first = next(iter(str(error).strip().splitlines()), "")
            message = f"`{place}`, which `{self.directory}` was made from, does not load"
            help = "install what it imports" if isinstance(error, ImportError) else "see that Python can import it"
            return Refused((Diagnostic("P092", message, notes=(f"{type(error).__name__}: {first}",), help=help),))

    def configuration(self) -> dict[str, Any] | None:
        """The `config.json` beside a file of a checkpoint's folder; None where there is none to read."""
        place = self.locate() if self.module is None else None
        if not isinstance(place, Path):
            return None
        try:
            read = json.loads((place.parent / "config.json").read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        return read if isinstance(read, dict) else None

    @property
    def spec(self) -> str | Refused:
        """What `load_source` takes for it."""
        place = self.locate() if self.module is None else None
        return place if isinstance(place, Refused) else self.module or str(place)

    def _import_file(self, place: Path) -> types.ModuleType:
        # by content too: a file may be changed and ported again in one process
        contents = (os.fsdecode(place), self.sha256, *(sha256 for _, sha256 in self.siblings))
        mark = hashlib.sha256(os.fsencode("\n".join(contents))).hexdigest()[:12]
        package = package_of(place.parent, f"_source_{self.port}_{mark}")
        with _no_bytecode(), _as_a_script(place.parent), redirect_stdout(sys.stderr):  # stdout is for results
            return importlib.import_module(f"{package}.{place.stem}")

    def _again(self) -> str:
        spec = self.spec
        assert not isinstance(spec, Refused), "located before"
        options = {**self.options, "trust_remote_code": False}  # the consent there was is for another text
        root = self.directory.resolve()
        options["rules"] = [os.path.normpath(root / folder) for folder in self.options.get("rules") or ()]
        words = convert_command(spec, str(self.directory), options)
        named = "" if self.directory.resolve().name == self.port else f" --name {self.port}"
        return f"{words}{named} --force"

    def _gone(self, file: Path, recorded: str, where: str) -> Refused:
        message = f"`{file}`, which `{self.directory}` was made from, is not there"
        help = "put it back, or convert it again from where it is now"
        return self._refused("P090", message, json.dumps(recorded, ensure_ascii=False), where, help)

    def _refused(self, code: str, message: str, entry: str, label: str, help: str | None) -> Refused:
        return Refused((Diagnostic(code, message, self._span_of(entry), label, help=help),))

    def _span_of(self, entry: str) -> Span | None:
        """The place of an entry in `port.json`."""
        file = self.directory / FILE
        lines = file.read_text(encoding="utf-8").split("\n")
        found = ((number, line.find(entry)) for number, line in enumerate(lines, 1) if entry and entry in line)
        number, column = next(found, (0, 0))
        return Span(str(file), number, column, number, column + len(entry)) if number else None


def package_of(folder: Path, package: str) -> str:
    """`package`, made here so that its modules are those of `folder`, whose own `__init__` does not run."""
    if package not in sys.modules:
        made = types.ModuleType(package)
        made.__path__ = [str(folder)]
        sys.modules[package] = made
    importlib.invalidate_caches()
    return package


@contextmanager
def _as_a_script(folder: Path) -> Iterator[None]:
    """Files of the folder may import each other by bare names; what they load so is forgotten afterwards."""
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            place = getattr(sys.modules[name], "__file__", None)
            if "." not in name and place is not None and Path(place).parent == folder:
                del sys.modules[name]


@contextmanager
def _no_bytecode() -> Iterator[None]:
    """The folder is a user's, and may be under version control: nothing is left in it."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before

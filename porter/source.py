"""What the user named -> the text of one modeling file, and where it came from.

A dotted module name, a `.py` file, or a folder (a checkpoint with its own modeling file) all end in one `Source`.
Nothing is ever imported or run: packages are found on `sys.path` by looking at folders, because importing one costs
seconds and executes code that nobody has read yet. Whether the text is valid Python is for `parse` to say.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from porter.checkpoint import modeling_file_named_by_config
from porter.diagnostics import Diagnostic, Refused, Span
from porter.installed import locate_module, module_of, version_of
from porter.nearest import nearest
from porter.relative import modules_beside


@dataclass(frozen=True)
class Companion:
    """Another file that a source needs beside it: its name, place, text and hash."""

    name: str
    path: Path
    text: str = field(repr=False)
    sha256: str


@dataclass(frozen=True)
class Source:
    """One modeling file. `module`, `package` and `version` are set where it belongs to an installed package."""

    text: str = field(repr=False)
    path: Path
    display: str  # "llama/modeling_llama.py"
    module: str | None  # "transformers.models.llama.modeling_llama"
    package: str | None  # "transformers"
    version: str | None  # "5.23.0"
    sha256: str  # of the file's bytes
    configuration: Companion | None  # the `configuration_*.py` beside it
    siblings: tuple[Companion, ...]  # files it imports relatively, and they in turn; only where there is no package


def load_source(spec: str) -> Source | Refused:
    """The modeling file that `spec` names: a dotted module, a `.py` file or a folder."""
    path = Path(spec).expanduser()
    if path.exists() or _looks_like_a_path(spec):
        found = _file_at(path)
        return found if isinstance(found, Refused) else _read_source(found, module_of(found))
    located = locate_module(spec)
    if isinstance(located, Refused):
        return located
    place, module = located
    if place.is_file():
        return _read_source(place, module)
    chosen = _modeling_file_in(place, spec, lambda name: f"{module}.{name.removesuffix('.py')}")
    return chosen if isinstance(chosen, Refused) else _read_source(chosen, f"{module}.{chosen.stem}")


def _looks_like_a_path(spec: str) -> bool:
    return spec.endswith(".py") or "/" in spec or os.sep in spec or spec.startswith((".", "~")) or not spec


def _refused(code: str, message: str, *, notes: tuple[str, ...] = (), help: str | None = None) -> Refused:
    return Refused((Diagnostic(code, message, notes=notes, help=help),))


# --- files and folders


def _file_at(path: Path) -> Path | Refused:
    if path.is_dir():
        named = modeling_file_named_by_config(path)
        if isinstance(named, Refused):
            return named
        return named or _modeling_file_in(path, str(path), lambda name: str(path / name))
    if not path.exists():
        return _refused("P001", f"no file or folder `{path}`", help=_closest_path(path))
    if path.suffix != ".py":
        message = f"`{path}` is not a Python file"
        return _refused("P004", message, help="give a `.py` file, a folder with one, or a module name")
    return path


def _closest_path(path: Path) -> str:
    try:
        entries = [entry.name for entry in path.parent.iterdir() if entry.is_dir() or entry.suffix == ".py"]
    except OSError:
        return f"the folder `{path.parent}` is not there either" if not path.parent.exists() else "check the path"
    close = nearest(path.name, entries)
    return f"did you mean {' or '.join(f'`{path.parent / name}`' for name in close)}?" if close else "check the path"


def _modeling_file_in(folder: Path, spec: str, full_name: Callable[[str], str]) -> Path | Refused:
    """The folder's one `modeling_*.py`; `full_name` says how the user would name one of several."""
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_file() and _is_modeling(entry.name))
    except OSError as error:
        return _unreadable(folder, error)
    if len(names) == 1:
        return folder / names[0]
    if names:
        listed = ", ".join(f"`{full_name(name)}`" for name in names)
        return _refused("P003", f"`{spec}` has {len(names)} modeling files", help=f"name one of them: {listed}")
    return _refused(
        "P002",
        f"`{spec}` has no modeling file",
        notes=(f"looked for `modeling_*.py` in {folder}",),
        help="give a folder with a `modeling_*.py`, or name the file itself",
    )


def _is_modeling(name: str) -> bool:
    other_frameworks = ("modeling_tf_", "modeling_flax_")
    return name.startswith("modeling_") and name.endswith(".py") and not name.startswith(other_frameworks)


# --- reading


def _read_source(path: Path, module: str | None) -> Source | Refused:
    path = Path(os.path.abspath(path))
    display = f"{path.parent.name}/{path.name}" if path.parent.name else path.name
    read = _read(path, display)
    if isinstance(read, Refused):
        return read
    if not read.text.strip():
        return Refused((Diagnostic("P006", f"`{display}` is empty", help="give a file with a model in it"),))
    configuration = _configuration_of(path)
    if isinstance(configuration, Refused):
        return configuration
    siblings = () if module else _siblings_of(read)
    if isinstance(siblings, Refused):
        return siblings
    package = module.split(".")[0] if module else None
    return Source(read.text, path, display, module, package, version_of(package), read.sha256, configuration, siblings)


def _read(path: Path, display: str) -> Companion | Refused:
    try:
        data = path.read_bytes()
    except OSError as error:
        return _unreadable(path, error)
    help = "save it as UTF-8 without a byte order mark"
    if data.startswith(b"\xef\xbb\xbf"):
        return Refused((Diagnostic("P005", "a byte order mark", Span(display, 1, 0, 1, 0), help=help),))
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = len(data[data.rfind(b"\n", 0, error.start) + 1 : error.start].decode("utf-8"))
        span = Span(display, line, column, line, column + 1)
        label = f"byte 0x{data[error.start]:02x}: {error.reason}"
        return Refused((Diagnostic("P005", f"`{display}` is not UTF-8", span, label, help=help),))
    return Companion(path.name, path, text, hashlib.sha256(data).hexdigest())


def _unreadable(path: Path, error: OSError) -> Refused:
    return _refused("P007", f"cannot read `{path}`: {error.strerror or error}", help="check that it may be read")


def _configuration_of(path: Path) -> Companion | Refused | None:
    """`configuration_x.py` beside `modeling_x.py`, else the folder's only one."""
    own = path.with_name(path.name.replace("modeling_", "configuration_", 1))
    if own == path:
        return None
    if not own.is_file():
        others = sorted(path.parent.glob("configuration_*.py"))
        if len(others) != 1:
            return None
        own = others[0]
    return _read(own, f"{own.parent.name}/{own.name}")


def _siblings_of(source: Companion) -> tuple[Companion, ...] | Refused:
    found: dict[str, Companion] = {}
    todo = [source]
    while todo:
        current = todo.pop()
        for name in modules_beside(current.text):
            path = source.path.with_name(f"{name}.py")
            if path == source.path or path.name in found or not path.is_file():
                continue
            read = _read(path, f"{path.parent.name}/{path.name}")
            if isinstance(read, Refused):
                return read
            found[path.name] = read
            todo.append(read)
    return tuple(found[name] for name in sorted(found))

"""The bytes of a file -> its text, and the files that go with it."""

from __future__ import annotations

import hashlib
import io
import os
import tokenize
from dataclasses import dataclass, field
from pathlib import Path

from porter.diagnostics import Diagnostic, Refused, Span
from porter.source.beside import modules_beside
from porter.source.checkpoint import entry_named_by_config
from porter.source.installed import is_installed, version_of

LIBRARY = "transformers"
LARGEST = 8 << 20  # bytes; a conversion holds some 700 bytes for each


@dataclass(frozen=True)
class Companion:
    """Another file that a source needs beside it: its name, place, text and hash."""

    name: str
    path: Path
    text: str = field(repr=False)
    sha256: str
    encoding: str = "utf-8"


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
    siblings: tuple[Companion, ...]  # files beside it that it imports, and they in turn; only where there is no package
    encoding: str = "utf-8"  # as its first lines declare it: the port, which keeps them, is written in it too
    entry: str | None = None  # the class that the config.json beside it names as the causal language model
    installed: bool = True  # False for code out of a folder: it runs by consent alone
    made_under: str | None = None  # the version of transformers that is installed: rules look into that too

    @property
    def beside(self) -> frozenset[str]:
        """Names of the modules that go with a port of it."""
        return frozenset(sibling.path.stem for sibling in self.siblings)


def read_source(path: Path, module: str | None) -> Source | Refused:
    """One file and what goes with it: P005 for an encoding that is not the declared one, P006 for an empty file."""
    try:
        path = Path(os.path.abspath(path))
    except OSError as error:  # the current folder is gone
        return unreadable(path, error)
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
    return Source(
        read.text,
        path,
        display,
        module,
        package,
        version_of(package),
        read.sha256,
        configuration,
        siblings,
        read.encoding,
        None if module else entry_named_by_config(path),
        module is not None and is_installed(path, module),
        version_of(LIBRARY),
    )


def _read(path: Path, display: str) -> Companion | Refused:
    try:
        data = path.read_bytes()
    except OSError as error:
        return unreadable(path, error)
    if len(data) > LARGEST:
        message = f"`{display}` has {len(data) >> 20} MiB: porter takes files up to {LARGEST >> 20} MiB"
        return Refused((Diagnostic("P016", message, help="name the modeling file itself, without its data"),))
    if data.startswith(b"\xef\xbb\xbf"):
        help = "save it as UTF-8 without a byte order mark"
        return Refused((Diagnostic("P005", "a byte order mark", Span(display, 1, 0, 1, 0), help=help),))
    encoding = _declared_encoding(data, display)
    if isinstance(encoding, Refused):
        return encoding
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        return _wrong_bytes(data, error, encoding, display)
    return Companion(path.name, path, text, hashlib.sha256(data).hexdigest(), encoding)


def _declared_encoding(data: bytes, display: str) -> str | Refused:
    """What `# -*- coding: ... -*-` says in one of the first two lines, read as Python reads it; else UTF-8."""
    fault: str | None
    try:
        encoding = tokenize.detect_encoding(io.BytesIO(data).readline)[0]
        fault = _fault_of(encoding)
    except SyntaxError as error:
        if b"coding" not in b"".join(data.split(b"\n", 2)[:2]):
            return "utf-8"  # the bytes are at fault: decoding them says where
        encoding, fault = "", error.msg
    if fault is None:
        return encoding
    help = "declare an encoding that Python knows, or save the file as UTF-8"
    return Refused((Diagnostic("P005", f"`{display}`: {fault}", Span(display, 1, 0, 1, 1), help=help),))


def _fault_of(encoding: str) -> str | None:
    """What keeps a port from being written in an encoding: what porter adds is ASCII, and must stay what it is."""
    ascii_text = bytes(range(128))
    try:
        is_ascii = "\\".encode(encoding) == b"\\" and ascii_text.decode(encoding) == ascii_text.decode("ascii")
        "\N{SNOWMAN}".encode(encoding, "backslashreplace")
    except (LookupError, UnicodeError):
        is_ascii = False
    return None if is_ascii else f"`{encoding}` is no encoding of text that holds ASCII as it is"


def _wrong_bytes(data: bytes, error: UnicodeDecodeError, encoding: str, display: str) -> Refused:
    line = data.count(b"\n", 0, error.start) + 1
    before = data[data.rfind(b"\n", 0, error.start) + 1 : error.start]
    column = len(before.decode(encoding, "replace"))
    span = Span(display, line, column, line, column + 1)
    label = f"byte 0x{data[error.start]:02x}: {error.reason}"
    name = encoding.upper() if encoding == "utf-8" else f"`{encoding}`, which it declares"
    help = "save it as UTF-8 without a byte order mark"
    return Refused((Diagnostic("P005", f"`{display}` is not {name}", span, label, help=help),))


def unreadable(path: Path, error: OSError) -> Refused:
    """P007: the file or folder cannot be read."""
    message = f"cannot read `{path}`: {error.strerror or error}"
    return Refused((Diagnostic("P007", message, help="check that it may be read"),))


def _configuration_of(path: Path) -> Companion | Refused | None:
    """`configuration_x.py` beside `modeling_x.py`, else the folder's only one."""
    own = path.with_name(path.name.replace("modeling_", "configuration_", 1))
    if own == path:
        return None
    if not own.is_file():
        others = sorted(other for other in path.parent.glob("configuration_*.py") if other.is_file())
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
            if path == source.path or path.name in found or not os.path.isfile(path):
                continue
            read = _read(path, f"{path.parent.name}/{path.name}")
            if isinstance(read, Refused):
                return read
            found[path.name] = read
            todo.append(read)
    return tuple(found[name] for name in sorted(found))

"""A port -> the bytes of every file of its folder. Nothing is written here: what cannot be rendered costs nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from porter.diagnostics import Diagnostic, Refused
from porter.emit.account import FILE, account, as_data
from porter.emit.diff import diff
from porter.emit.templated import package_file, run_script, with_header
from porter.rewrite import Ported
from porter.rewrite.imports import led_beside
from porter.rulebook import LoadedRule
from porter.source import Source
from porter.source.beside import modules_beside


@dataclass(frozen=True)
class Rendered:
    """A port's folder: file name -> bytes, and the data of its `port.json`."""

    files: dict[str, bytes] = field(repr=False)
    account: dict[str, Any] = field(repr=False)


def render_port(ported: Ported, place: Path) -> Rendered:
    """The port's folder, to be written to `place`: the same port gives the same bytes, wherever that is.

    Only the way from there to a source that is a file of its own is part of them.
    """
    module = module_name(ported.source)
    code = with_header(ported, place)
    beside = ported.source.beside
    texts = {each.name: led_beside(each.text, each.name, beside) for each in ported.source.siblings}
    texts |= {
        f"{module}.py": code,
        "__init__.py": package_file(ported, module, ported.exports),
        f"run_{ported.name}.py": run_script(ported),
        **{f"{file.module}.py": file.text for file in ported.ops},
        "port.diff": diff(ported.source.text, code, ported.changes, ported.source.display),
    }
    files = {name: _encoded(text, _encoding(name, module, ported)) for name, text in texts.items()}
    files["port.diff"] = _encoded_diff(texts["port.diff"], ported.source.encoding)
    data = as_data(ported, module, files, place)
    files[FILE] = account(data).encode("utf-8")
    return Rendered(files, data)


def module_name(source: Source) -> str:
    """`modeling_<x>`, or the source's own name where a file beside it imports that, or is called `modeling_<x>`."""
    stem = source.path.stem
    named = stem if stem.startswith("modeling_") else f"modeling_{stem}"
    beside = {sibling.path.stem for sibling in source.siblings}
    is_imported = any(stem in modules_beside(sibling.text) for sibling in source.siblings)
    return stem if is_imported or named in beside else named


def clash(source: Source, name: str) -> Refused | None:
    """P143 where a file beside the source would go along under a name that a port needs for a file of its own."""
    taken = _of_source(source)
    if f"run_{name}.py" in taken:
        message = f"`run_{name}.py` would stand in the port twice: the source's own, and the script that runs the port"
        return Refused((Diagnostic("P143", message, help="give the port another name with `--name` or `--out`"),))
    if "__init__.py" in taken:
        message = f"`{source.path.with_name('__init__.py')}` would go along, and a port has an `__init__.py` of its own"
        help = "move what is imported from it into a module with another name"
        return Refused((Diagnostic("P143", message, help=help),))
    return None


def clash_of_ops(source: Source, used: Iterable[LoadedRule]) -> Refused | None:
    """P143 where a file of the source's and one of ops, of the rules that port it, would go along under one name."""
    taken = _of_source(source)
    ops = next((file for rule in used for file in rule.ops if f"{file.module}.py" in taken), None)
    if ops is None:
        return None
    message = f"`{ops.module}.py` would stand in the port twice: the source's own, and ops of the rules"
    return Refused((Diagnostic("P143", message, help=f"give `ops/{ops.name}.py` another name"),))


def _of_source(source: Source) -> set[str]:
    """The names of the files of a port that are the source's."""
    return {*(sibling.name for sibling in source.siblings), f"{module_name(source)}.py"}


def _encoding(name: str, module: str, ported: Ported) -> str:
    """What the source is written in, where its text goes on; a file beside it keeps its own."""
    companions = {sibling.name: sibling.encoding for sibling in ported.source.siblings}
    return ported.source.encoding if name == f"{module}.py" else companions.get(name, "utf-8")


def _encoded(text: str, encoding: str) -> bytes:
    """What an encoding lacks can only be in the header, which is a comment: a path, say."""
    return text.encode(encoding, "backslashreplace")


def _encoded_diff(text: str, encoding: str) -> bytes:
    """The lines of a diff as their file has them; the two that name the file in UTF-8, as git reads names."""
    *names, lines = text.split("\n", 2) if text else ("",)
    return os.fsencode("".join(f"{name}\n" for name in names)) + _encoded(lines, encoding)

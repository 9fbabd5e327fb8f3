"""A port -> a checkpoint's folder that loads as the port with transformers' `trust_remote_code=True`.

Contract: the modeling file, and what it imports from beside it, come to lie in the checkpoint, and `auto_map` of its
`config.json` names it; that file is byte for byte the same otherwise. All is written, or nothing: `config.json` last.
Whoever loads it needs porter installed (`porter.runtime`, and without an NPU `porter.npu`), and the transformers that
the port was made for: the file says so on top. Nothing of the port or of the checkpoint is executed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libcst as cst

import porter
from porter.diagnostics import Diagnostic, Refused
from porter.emit.account import read_account
from porter.emit.edited import edited_files, was_edited
from porter.emit.json_member import with_member
from porter.emit.swap import alone_in, remove, replace_file

AUTO_CLASS = "AutoModelForCausalLM"
CONFIG = "config.json"


@dataclass(frozen=True)
class Exported:
    """What was written into `checkpoint`; `before` is what `auto_map` said of the class, if it was another file."""

    checkpoint: Path
    files: tuple[str, ...]
    entry: str
    before: str | None


def export(port: Path, checkpoint: Path, *, force: bool = False, edited: bool = False) -> Exported | Refused:
    """Write the port in `port` into `checkpoint`.

    Refused: no port (P072), changed by hand (P135, but for `edited`), no checkpoint (P081), one of another model
    (P083); P161 for a file or an `auto_map` entry that `force` alone replaces.
    """
    account = read_account(port)
    if isinstance(account, Refused):
        return account
    changed = () if edited else edited_files(port)
    if changed:
        return Refused((was_edited(port, changed, "`--edited`"),))
    read = _read_config(checkpoint / CONFIG)
    if isinstance(read, Refused):
        return read
    text, config = read
    module, class_name = f"{account['module']}_npu", account["class"]
    architectures = config.get("architectures")
    if isinstance(architectures, list) and architectures and class_name not in architectures:
        message = f"`{checkpoint}` is a checkpoint of {', '.join(map(str, architectures))}"
        return _refused("P083", message, "export the port of that model", f"the port is {class_name}")
    entry, auto_map = f"{module}.{class_name}", config.get("auto_map") or {}
    if not isinstance(auto_map, dict):
        return _refused("P081", f"`{checkpoint / CONFIG}` has an `auto_map` that is no object", "correct it")
    files = _files(port, account, module)
    before = auto_map.get(AUTO_CLASS)
    other = before if before != entry else None
    standing = [name for name, data in files.items() if _differs(checkpoint / name, data)]
    if not force and (other is not None or standing):
        notes = [f"its auto_map says {AUTO_CLASS}: {other}"] if other is not None else []
        notes += [f"`{name}` is there, and is another" for name in standing]
        help = "use `--force` to replace it, or export to a copy of the checkpoint"
        return _refused("P161", f"`{checkpoint}` has model code already", help, *notes)
    files[CONFIG] = with_member(text, "auto_map", {**auto_map, AUTO_CLASS: entry}).encode("utf-8")
    _write(checkpoint, files)
    return Exported(checkpoint, tuple(files), entry, None if other is None else str(other))


def _files(port: Path, account: Mapping[str, Any], module: str) -> dict[str, bytes]:
    """The modeling file under its new name, and what lies beside it."""
    text = (port / f"{account['module']}.py").read_text(encoding="utf-8")
    siblings = [sibling["file"] for sibling in account["source"].get("siblings") or ()]
    beside = {name: (port / name).read_bytes() for name in siblings}
    return {**beside, f"{module}.py": _saying_what_it_needs(text).encode("utf-8")}


def _saying_what_it_needs(text: str) -> str:
    """The module with `porter.runtime` imported before anything of transformers: it says what is wrong with that."""
    tree = cst.parse_module(text)
    place = next(index for index, statement in enumerate(tree.body) if not _comes_first(statement))
    needed = cst.parse_statement("import porter.runtime  # first: it refuses a transformers it was not tested with\n")
    after = tree.body[place]
    after = after.with_changes(leading_lines=[cst.EmptyLine(indent=False), *after.leading_lines])
    body = [*tree.body[:place], needed, after, *tree.body[place + 1 :]]
    says = (
        f"# Exported by porter {porter.__version__} for transformers' `trust_remote_code=True`. It runs where\n"
        "# porter is installed, whose `porter.runtime` it imports; without, loading it is an ImportError.\n#\n"
    )
    return says + tree.with_changes(body=body).code


def _comes_first(statement: cst.BaseStatement | cst.BaseSmallStatement) -> bool:
    """A docstring, or what Python wants before all else."""
    if not isinstance(statement, cst.SimpleStatementLine):
        return False
    first = statement.body[0]
    if isinstance(first, cst.Expr):
        return isinstance(first.value, (cst.SimpleString, cst.ConcatenatedString))
    return isinstance(first, cst.ImportFrom) and getattr(first.module, "value", None) == "__future__"


def _read_config(file: Path) -> tuple[str, dict[str, Any]] | Refused:
    try:
        text = file.read_bytes().decode("utf-8")
        read = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return _refused("P081", f"`{file}` cannot be read: {reason}", "give the folder of a checkpoint, as downloaded")
    if not isinstance(read, dict):
        return _refused("P081", f"`{file}` is not a JSON object", "download the checkpoint again")
    return text, read


def _differs(file: Path, data: bytes) -> bool:
    return os.path.lexists(file) and not (file.is_file() and file.read_bytes() == data)


def _write(checkpoint: Path, files: Mapping[str, bytes]) -> None:
    """All of them, in this order, or none."""
    with alone_in(checkpoint):
        before = {name: (checkpoint / name).read_bytes() for name in files if (checkpoint / name).is_file()}
        done = []
        try:
            for name, data in files.items():
                replace_file(checkpoint / name, data)
                done.append(name)
        except BaseException:
            for name in done:
                if name in before:
                    replace_file(checkpoint / name, before[name])
                else:
                    remove(checkpoint / name)
            raise


def _refused(code: str, message: str, help: str, *notes: str) -> Refused:
    return Refused((Diagnostic(code, message, notes=notes, help=help),))

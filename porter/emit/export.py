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

from porter.diagnostics import Refused, refused
from porter.emit.account import read_account
from porter.emit.edited import edited_files, was_edited
from porter.emit.exported_code import code_of
from porter.emit.json_member import with_member
from porter.emit.swap import alone_in, remove, replace_file

AUTO_CLASS = "AutoModelForCausalLM"
AUTO_CONFIG = "AutoConfig"
CONFIG = "config.json"


@dataclass(frozen=True)
class Exported:
    """What was written into `checkpoint`; `before` is what `auto_map` said of the class, if it was another file.

    `dropped` is what it said of the configuration, if that is not the port's.
    """

    checkpoint: Path
    files: tuple[str, ...]
    entry: str
    before: str | None
    dropped: str | None = None


def export(port: Path, checkpoint: Path, *, force: bool = False, edited: bool = False) -> Exported | Refused:
    """Write the port in `port` into `checkpoint`.

    Refused: no port (P072), changed by hand (P135, but for `edited`), no checkpoint (P081), one of another model
    (P083), code that is not there or no Python (P142), or that no checkpoint can hold (P162); P161 for a file or an
    `auto_map` entry that `force` alone replaces.
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
        return refused("P083", message, "export the port of that model", f"the port is {class_name}")
    entry, auto_map = f"{module}.{class_name}", config.get("auto_map") or {}
    if not isinstance(auto_map, dict):
        return refused("P081", f"`{checkpoint / CONFIG}` has an `auto_map` that is no object", "correct it")
    files = code_of(port, account, module)
    if isinstance(files, Refused):
        return files
    before = auto_map.get(AUTO_CLASS)
    other = None if before in (None, entry) else str(before)
    auto_map = _following(auto_map, account, module)
    foreign = _foreign_configuration(auto_map, files)
    own = (account["source"].get("configuration") or {}).get("file")
    if foreign is not None and own in files:
        message = f"`{checkpoint}` says {AUTO_CONFIG}: {foreign}, and the port's configuration is in `{own}`"
        return refused("P161", message, f"let its auto_map name the class in `{own}`")
    notes = [] if other is None else [f"its auto_map says {AUTO_CLASS}: {other}"]
    if foreign is not None:
        notes.append(f"its auto_map says {AUTO_CONFIG}: {foreign}, which is not what the port was made with")
    notes += [f"`{name}` is there, and is another" for name, data in files.items() if _differs(checkpoint / name, data)]
    if notes and not force:
        help = "use `--force` to replace it, or export to a copy of the checkpoint"
        return refused("P161", f"`{checkpoint}` has model code already", help, *notes)
    kept = {name: value for name, value in auto_map.items() if name != AUTO_CONFIG or foreign is None}
    files = {**files, CONFIG: with_member(text, "auto_map", {**kept, AUTO_CLASS: entry}).encode("utf-8")}
    _write(checkpoint, files)
    return Exported(checkpoint, tuple(files), entry, other, foreign)


def _following(auto_map: dict[str, Any], account: Mapping[str, Any], module: str) -> dict[str, Any]:
    """`auto_map`, with a configuration class that stands in the source's own file as the port's file has it."""
    file, _, class_name = str(auto_map.get(AUTO_CONFIG)).rpartition(".")
    is_own = file == account["module"] and "path" in account["source"]
    return {**auto_map, AUTO_CONFIG: f"{module}.{class_name}"} if is_own else auto_map


def _foreign_configuration(auto_map: Mapping[str, Any], files: Mapping[str, bytes]) -> str | None:
    """The configuration class that `auto_map` names, where no file of the port's has it.

    transformers takes it for the port's own if only it has the same name.
    """
    said = auto_map.get(AUTO_CONFIG)
    return None if said is None or f"{str(said).rpartition('.')[0]}.py" in files else str(said)


def _read_config(file: Path) -> tuple[str, dict[str, Any]] | Refused:
    try:
        text = file.read_bytes().decode("utf-8")
        read = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return refused("P081", f"`{file}` cannot be read: {reason}", "give the folder of a checkpoint, as downloaded")
    if not isinstance(read, dict):
        return refused("P081", f"`{file}` is not a JSON object", "download the checkpoint again")
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

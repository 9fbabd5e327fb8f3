"""The folder of a port -> what a review needs of it: account, hunks, both whole texts, what was edited by hand.

Contract: executes nothing, and needs neither the source nor its package: `port.diff` leads from the port back to it.
Refused: P072 for no account, P171 for one of a porter that did not write what a review tells, P172 for a `port.diff`
that is not what porter wrote.
"""

from __future__ import annotations

import hashlib
import io
import tokenize
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from porter.diagnostics import Diagnostic, Refused
from porter.emit.account import FILE, read_account
from porter.emit.patch import DiffHunk, NotADiff, port_of, read_patch, source_of
from porter.rewrite import PARTS
from porter.source import load_source

DIFF = "port.diff"


@dataclass(frozen=True)
class Opened:
    """A port as it lies there. `old` and `new` are the source and what porter wrote; empty where that is unknown."""

    folder: Path
    account: dict[str, Any]
    hunks: tuple[DiffHunk, ...] = field(repr=False)
    edited: tuple[str, ...]
    old: str = field(repr=False)
    new: str = field(repr=False)
    there: str = field(repr=False)  # the modeling file as it is now
    confirmed: bool  # `old` has the hash of the source


def open_for_review(folder: Path) -> Opened | Refused:
    account = read_account(folder)
    if isinstance(account, Refused):
        return account
    fault = _fault_of(account)
    if fault is not None:
        message = f"`{folder / FILE}` does not tell what a review shows"
        help = f"convert it again: {account.get('regenerate') or 'porter convert'}"
        return Refused((Diagnostic("P171", message, notes=(f"{fault}: it is of an older porter",), help=help),))
    edited = tuple(name for name, sha256 in sorted(account["files"].items()) if _sha256(folder / name) != sha256)
    module = f"{account['module']}.py"
    data = _bytes(folder / module)
    encoding = _encoding(data)
    try:
        if DIFF in edited or DIFF not in account["files"]:
            raise NotADiff("it is missing" if not (folder / DIFF).exists() else "its hash is not the one in port.json")
        hunks = read_patch(_decoded(_bytes(folder / DIFF), encoding))
    except NotADiff as error:
        message, help = f"`{folder / DIFF}` is not what porter wrote", f"convert it again: {account['regenerate']}"
        return Refused((Diagnostic("P172", message, notes=(str(error),), help=help),))
    there = _decoded(data, encoding)
    old, new = _texts(account, hunks, there, module in edited, folder)
    confirmed = bool(old) and hashlib.sha256(old.encode(encoding, "replace")).hexdigest() == account["source"]["sha256"]
    return Opened(folder, account, hunks, edited, old, new, there, confirmed)


def _texts(
    account: dict[str, Any], hunks: tuple[DiffHunk, ...], there: str, is_edited: bool, folder: Path
) -> tuple[str, str]:
    """The source, and the port as written; of an edited one by the source itself, where it is there unchanged."""
    try:
        if not is_edited:
            return source_of(there, hunks), there
        source = account["source"]
        spec = source.get("module") if "path" not in source else str(folder.resolve() / source["path"])
        loaded = load_source(spec) if spec else None
        if loaded is None or isinstance(loaded, Refused) or loaded.sha256 != source["sha256"]:
            return "", ""
        return loaded.text, port_of(loaded.text, hunks)
    except NotADiff:
        return "", ""


def _fault_of(account: dict[str, Any]) -> str | None:
    """The first entry that a review tells and that is not there."""
    for name in ("porter", "regenerate"):
        if not isinstance(account.get(name), str):
            return f"it has no `{name}`"
    for name, holds in (("rules", _is_rule), ("sites", _is_site), ("changes", _is_change)):
        entries = account.get(name)
        if not isinstance(entries, list):
            return f"it has no `{name}`"
        wrong = next((entry for entry in entries if not (isinstance(entry, dict) and holds(entry))), None)
        if wrong is not None:
            return f"its `{name}` has {str(wrong)[:80]}"
    named = {entry["rule"] for entry in account["rules"]}
    strange = next((entry["rule"] for entry in account["changes"] if entry["rule"] not in (*named, None)), None)
    return None if strange is None else f"its `changes` name `{strange}`, which is no rule of it"


def _is_rule(entry: dict[str, Any]) -> bool:
    return isinstance(entry.get("rule"), str) and isinstance(entry.get("sha256"), str)


def _is_site(entry: dict[str, Any]) -> bool:
    texts = all(isinstance(entry.get(name), str) for name in ("site", "kind", "status"))
    rules = entry.get("rules")
    return texts and isinstance(entry.get("line"), int) and isinstance(rules, list) and all(map(_is_text, rules))


def _is_change(entry: dict[str, Any]) -> bool:
    lines = entry.get("lines")
    placed = isinstance(lines, list) and len(lines) == 2 and all(isinstance(line, int) for line in lines)
    rule = entry.get("rule")
    by = _is_text(rule) if rule is not None else entry.get("part") in PARTS
    return placed and by and _is_text(entry.get("site"))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _sha256(path: Path) -> str:
    return hashlib.sha256(_bytes(path)).hexdigest() if path.exists() else ""


def _encoding(data: bytes) -> str:
    try:
        return tokenize.detect_encoding(io.BytesIO(data).readline)[0]
    except SyntaxError:
        return "utf-8"


def _decoded(data: bytes, encoding: str) -> str:
    return data.decode(encoding, "replace")

"""The registry: which ports a folder holds, as two dict literals, made from their `port.json` files.

Contract: ports are never imported for it. A folder is registered under its own name, since that is where loaders look.
The accounts are what counts: a neighbour whose account is damaged is left out, and named; what a killed run left is put
right by whoever reads or writes next.
"""

from __future__ import annotations

import ast
import contextlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from porter.diagnostics import Diagnostic, Refused
from porter.emit.account import FILE, read_account
from porter.emit.swap import alone_in, is_unsettled, replace_file
from porter.emit.templated import REGISTRY_FIRST_LINE, registry_file

NAME = "__init__.py"
_TABLES = ("_MODELS", "_MODEL_INJECTION_POLICY")
_BY_HAND = "registry.py"  # where hand ports keep the tables

_MEND = "it is not listed until it is converted again"

Accounts = dict[str, dict[str, Any]]
Tables = tuple[dict[str, Any], dict[str, Any]]


def ports_in(parent: Path) -> tuple[Accounts, tuple[Diagnostic, ...]]:
    """Name -> account of each port in its own folder in `parent`; and what is wrong with those that are damaged."""
    accounts: Accounts = {}
    damaged: list[Diagnostic] = []
    for folder in _folders(parent):
        read = read_account(folder)
        if isinstance(read, Refused):
            damaged += read.diagnostics
        elif read["name"] == folder.name:
            accounts[folder.name] = read
    return accounts, tuple(damaged)


def _folders(parent: Path) -> list[Path]:
    try:
        folders = [entry for entry in parent.iterdir() if not entry.name.startswith(".")]
    except OSError:
        return []
    return sorted(folder for folder in folders if os.path.lexists(folder / FILE))


def tables_of(accounts: Accounts) -> Tables:
    """The two tables: name -> (module, class); name -> (module, layer class, outputs)."""
    models = {name: (account["module"], account["class"]) for name, account in accounts.items()}
    policies = {
        name: (account["module"], split["layer_class"], tuple(split["row_parallel"]))
        for name, account in accounts.items()
        if (split := account.get("split_points"))
    }
    return models, policies


def registry_text(parent: Path, added: dict[str, Any]) -> str | Refused:
    """The registry of `parent` once the port with the account `added` is in it. P073 where the file is not porter's."""
    foreign = _foreign_registry(parent)
    if foreign is not None:
        return foreign
    accounts, _ = ports_in(parent)
    return registry_file(*tables_of({**accounts, added["name"]: added}))


def damaged_neighbours(parent: Path, name: str) -> tuple[Diagnostic, ...]:
    """What is wrong with the other ports in `parent`: each is left out of the registry."""
    own = f"`{parent / name / FILE}`"
    warned = (replace(found, severity="warning", help=_MEND) for found in ports_in(parent)[1])
    return tuple(diagnostic for diagnostic in warned if own not in diagnostic.message)


def heal(parent: Path) -> None:
    """Put right what a killed run left in `parent`, and its registry; what may not be written is left to the next."""
    with contextlib.suppress(OSError):
        if not is_unsettled(parent):
            return
        with alone_in(parent):
            path = parent / NAME
            accounts, _ = ports_in(parent)
            if _foreign_registry(parent) is None and (accounts or path.is_file()):
                replace_file(path, registry_file(*tables_of(accounts)).encode("utf-8"))


def written_tables(parent: Path) -> Tables | Refused:
    """The tables as `registry.py`, or else the package file, has them, read without running it; else P073.

    Of a registry that porter wrote, only what still has a folder.
    """
    for file in (parent / _BY_HAND, parent / NAME):
        if not os.path.isfile(file):
            continue
        try:
            text = file.read_text(encoding="utf-8")
            found = {name: _literal(text, name, file) for name in _TABLES}
        except (OSError, ValueError, SyntaxError, MemoryError, RecursionError) as error:
            reason = f"{type(error).__name__}: {error}"
            message = f"the registry `{file}` cannot be read"
            return Refused((Diagnostic("P073", message, notes=(reason,), help="mend it, or convert a port again"),))
        tables = [found[name] for name in _TABLES]
        if text.startswith(REGISTRY_FIRST_LINE):
            tables = [
                {name: entry for name, entry in table.items() if os.path.isdir(parent / name)} for table in tables
            ]
        if any(tables):
            return tables[0], tables[1]
    return {}, {}


def _literal(text: str, table: str, file: Path) -> dict[str, Any]:
    for statement in ast.parse(text, filename=str(file)).body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == table for target in targets):
            value = ast.literal_eval(statement.value)  # type: ignore[attr-defined]
            if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
                raise ValueError(f"`{table}` is no dict of names")
            return value
    return {}


def _foreign_registry(parent: Path) -> Refused | None:
    path = parent / NAME
    try:
        text = path.read_text(encoding="utf-8") if path.is_file() or not os.path.lexists(path) else "no file"
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        text = str(error)
    if not text.strip() or text.startswith(REGISTRY_FIRST_LINE):
        return None
    message = f"`{path}` was not written by porter: it would have to list the port"
    help = "give `--out` a folder inside one that holds only ports, or move that file away"
    return Refused((Diagnostic("P073", message, help=help),))

"""Whose code a port is. An installed package's runs as that package does; code out of a folder runs by consent alone.

Contract: a port holds the code it was made from. Where that came from a file or a checkpoint's folder, whoever imports
the port, or its source, executes code that somebody may have only downloaded. Consent is given each time, or once when
converting: then it stands in `port.json`, for the text that was converted and no other. It is as good as the folder it
stands in: who takes a folder of ports over from others takes over what they consented to, and reads it first.
Converting and inspecting execute nothing and never ask.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from porter.diagnostics import Diagnostic, Refused
from porter.emit.account import FILE, read_account


def without_consent(folder: Path, account: dict[str, Any], *, given: bool) -> Refused | None:
    """P141 where the port in `folder` is code out of a folder and nobody has consented to running it."""
    if given or not is_from_folder(account):
        return None
    recorded = bool((account.get("options") or {}).get("trust_remote_code"))
    changed = [name for name in account["files"] if recorded and _is_changed(folder, name, account["files"][name])]
    if recorded and not changed:
        return None
    file, source = folder / f"{account['module']}.py", account["source"]
    made_from = source.get("path") or source.get("file") or "a file that is not named"
    message = f"`{file}` is code out of a folder: it runs only with your consent"
    notes = [
        f"made from `{made_from}`, which belongs to no installed package",
        f"this would execute `{file}`, and where the two are compared `{_place(folder, source) or made_from}`",
        *(f"the consent in {FILE} is for what was converted: `{name}` was changed since" for name in changed[:1]),
    ]
    help = "read them, then give `--trust-remote-code` (in Python trust_remote_code=True), here or when converting"
    return Refused((Diagnostic("P141", message, notes=tuple(notes), help=help),))


def is_from_folder(account: dict[str, Any]) -> bool:
    """Whether a port was made from a file that belongs to no installed package."""
    source = account["source"]
    return source.get("module") is None or source.get("path") is not None


def _is_changed(folder: Path, name: str, sha256: str) -> bool:
    """Whether a module of the port is not what was converted; what is gone executes nothing."""
    try:
        return name.endswith(".py") and hashlib.sha256((folder / name).read_bytes()).hexdigest() != sha256
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _place(folder: Path, source: dict[str, Any]) -> str | None:
    """The source's file, where the account has the way to it."""
    path = source.get("path")
    return None if path is None else os.path.normpath(os.path.join(os.path.realpath(folder), path))


def read_consented(folder: Path, *, trust_remote_code: bool) -> dict[str, Any] | Refused:
    """The account of a port that may be executed; P072 where there is none, P141 where nobody consented."""
    account = read_account(folder)
    if isinstance(account, Refused):
        return account
    return without_consent(folder, account, given=trust_remote_code) or account

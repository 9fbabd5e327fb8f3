"""Is a port what porter wrote: its Python files by the hashes in its account.

Contract: reads the folder, imports nothing of it. A folder without an account is no port of porter's: nothing is said.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from porter.diagnostics import Diagnostic, Refused
from porter.emit.account import FILE, read_account


def edited_files(folder: Path) -> tuple[str, ...]:
    """The files of the port in `folder` that importing it runs and that are not, or no longer, what porter wrote."""
    account = read_account(folder)
    if isinstance(account, Refused):
        return ()
    written = account["files"]
    script = f"run_{account['name']}.py"  # imports the port, and is not imported by it
    code = (name for name in sorted(written) if name.endswith(".py") and name != script)
    return tuple(name for name in code if _sha256(folder / name) != written[name])


def was_edited(folder: Path, files: tuple[str, ...], consent: str) -> Diagnostic:
    """P135: what is said of such a port before it is executed; `consent` is how to have it executed all the same."""
    listed = ", ".join(f"`{folder / name}`" for name in files)
    message = f"{listed} {'is' if len(files) == 1 else 'are'} not what porter wrote"
    note = f"{FILE} has another hash: no proof or account of the port speaks of this code"
    return Diagnostic("P135", message, notes=(note,), help=f"convert it again, or give {consent} to have it executed")


def _sha256(file: Path) -> str | None:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return None

"""Is a port what porter wrote: its Python files by the hashes in its account.

Contract: reads the folder, imports nothing of it. A folder without an account is no port of porter's: nothing is said.
"""

from __future__ import annotations

import hashlib
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from porter.diagnostics import Diagnostic, Refused
from porter.emit.account import FILE, read_account


def edited_files(folder: Path) -> tuple[str, ...]:
    """The files of the port in `folder` that importing it runs and that are not, or no longer, what porter wrote.

    Also those that Python would import in their place, and those that the account has no hash of.
    """
    account = read_account(folder)
    if isinstance(account, Refused):
        return ()
    written = account["files"]
    script = f"run_{account['name']}.py"  # imports the port, and is not imported by it
    run = {"__init__.py", f"{account['module']}.py", *(name for name in written if name.endswith(".py"))} - {script}
    changed = [name for name in run if _sha256(folder / name) != written.get(name)]
    before = [f"{Path(name).stem}{way}" for name in run for way in ("/__init__.py", *EXTENSION_SUFFIXES)]
    return tuple(sorted([*changed, *(name for name in before if (folder / name).exists())]))


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

"""Is a port what porter wrote: its Python files by the hashes in its account.

Contract: reads the folder, imports nothing of it. A folder without an account is no port of porter's: nothing is said.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from porter.diagnostics import Diagnostic

_ACCOUNT = "port.json"


def edited_files(folder: Path) -> tuple[str, ...]:
    """The files of the port in `folder` that importing it runs and that are not, or no longer, what porter wrote."""
    try:
        account = json.loads((folder / _ACCOUNT).read_bytes())
        written = {str(name): sha256 for name, sha256 in account["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ()
    script = f"run_{account.get('name')}.py"  # imports the port, and is not imported by it
    code = (name for name in sorted(written) if name.endswith(".py") and name != script)
    return tuple(name for name in code if _sha256(folder / name) != written[name])


def was_edited(folder: Path, files: tuple[str, ...], consent: str) -> Diagnostic:
    """P135: what is said of such a port before it is executed; `consent` is how to have it executed all the same."""
    listed = ", ".join(f"`{folder / name}`" for name in files)
    message = f"{listed} {'is' if len(files) == 1 else 'are'} not what porter wrote"
    note = f"{_ACCOUNT} has another hash: no proof or account of the port speaks of this code"
    return Diagnostic("P135", message, notes=(note,), help=f"convert it again, or give {consent} to have it executed")


def _sha256(file: Path) -> str | None:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return None

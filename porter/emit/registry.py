"""The registry: which ports a folder holds, as two dict literals, read from their `port.json` files.

Ports are never imported for it. A folder is registered under its own name, since that is where a loader looks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from porter.diagnostics import Diagnostic, Refused
from porter.emit.account import FILE, read_account
from porter.emit.templated import REGISTRY_FIRST_LINE, registry_file

NAME = "__init__.py"


def registry_text(parent: Path, added: dict[str, Any]) -> str | Refused:
    """The registry of `parent` once the port with the account `added` is in it."""
    ours = _foreign_registry(parent)
    if ours is not None:
        return ours
    accounts = {added["name"]: added}
    for path in sorted(parent.glob(f"*/{FILE}")) if parent.is_dir() else ():
        if path.parent.name == added["name"] or path.parent.name.startswith("."):
            continue
        read = read_account(path.parent)
        if isinstance(read, Refused):
            return read
        if read["name"] == path.parent.name:
            accounts[read["name"]] = read
    models = {name: (account["module"], account["class"]) for name, account in accounts.items()}
    policies = {
        name: (account["module"], split["layer_class"], tuple(split["row_parallel"]))
        for name, account in accounts.items()
        if (split := account.get("split_points"))
    }
    return registry_file(models, policies)


def _foreign_registry(parent: Path) -> Refused | None:
    path = parent / NAME
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        text = str(error)
    if not text.strip() or text.startswith(REGISTRY_FIRST_LINE):
        return None
    message = f"`{path}` was not written by porter: it would have to list the port"
    return Refused((Diagnostic("P073", message, help="give `--out` a folder inside one that holds only ports"),))

"""A port's folder -> its causal class and the class it was made from.

Contract: opening reads, and imports nothing. The port is imported under a package of its own, so that ports of one name
do not meet; what it was made from is `origin`'s affair, and asked for only by those who compare.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from porter.diagnostics import Refused
from porter.emit.account import read_account
from porter.runtime.edited import edited_files, was_edited
from porter.verify.origin import Origin, import_from


@dataclass(frozen=True)
class Port:
    """What `port.json` says about a port, and where it is."""

    directory: Path
    name: str
    module: str
    class_name: str
    origin: Origin

    def load_class(self) -> Any:
        """The ported causal class."""
        root = self.directory.resolve()
        # by content too: a port may be converted again in one process
        mark = hashlib.sha256(str(root).encode() + (root / f"{self.module}.py").read_bytes()).hexdigest()[:12]
        return getattr(import_from(root, self.module, f"_port_{self.name}_{mark}"), self.class_name)

    def load_source_class(self) -> Any | Refused:
        """The class that the port was made from. Refused where it does not load."""
        return self.origin.load_class()


def open_port(directory: Path, *, edited: bool = False) -> Port | Refused:
    """Read the account of a port. Refused where there is none (P072). What it was made from need not be there.

    P135 where its code is not what porter wrote, unless `edited` ones are wanted.
    """
    account = read_account(directory)
    if isinstance(account, Refused):
        return account
    changed = () if edited else edited_files(directory)
    if changed:
        return Refused((was_edited(directory, changed, "`--edited`"),))
    source, name, class_name = account["source"], account["name"], account["class"]
    origin = Origin(
        directory,
        name,
        class_name,
        source.get("module"),
        source.get("path"),
        source.get("sha256", ""),
        tuple((beside["file"], beside["sha256"]) for beside in source.get("siblings") or ()),
        account.get("options") or {},
    )
    return Port(directory, name, account["module"], class_name, origin)


def open_to_compare(directory: Path, *, edited: bool = False) -> Port | Refused:
    """As `open_port`; the source too is there (else P090) and is what was ported (else P091)."""
    port = open_port(directory, edited=edited)
    return port if isinstance(port, Refused) else port.origin.check() or port

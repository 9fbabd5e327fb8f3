"""A port's folder -> its causal class and the class it was made from.

Contract: the port is imported under a package of its own, so that ports of one name do not meet; the source by its
module's name. Importing is the only effect on the process.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from porter.diagnostics import Diagnostic, Refused
from porter.emit.account import read_account
from porter.installed import locate_module


@dataclass(frozen=True)
class Port:
    """What `port.json` says about a port, and where it is."""

    directory: Path
    name: str
    module: str
    class_name: str
    source_module: str
    source_sha256: str

    def load_class(self) -> Any:
        """The ported causal class."""
        root = self.directory.resolve()
        # by content too: a port may be converted again in one process
        mark = hashlib.sha256(str(root).encode() + (root / f"{self.module}.py").read_bytes()).hexdigest()[:12]
        package = f"_port_{self.name}_{mark}"
        if package not in sys.modules:
            made = types.ModuleType(package)
            made.__path__ = [str(root)]
            sys.modules[package] = made
        importlib.invalidate_caches()
        return getattr(importlib.import_module(f"{package}.{self.module}"), self.class_name)

    def load_source_class(self) -> Any:
        """The class that the port was made from."""
        return getattr(importlib.import_module(self.source_module), self.class_name)

    def installed_sha256(self) -> str:
        """sha256 of the source file as it is installed now; empty where it is gone."""
        located = locate_module(self.source_module)
        return "" if isinstance(located, Refused) else hashlib.sha256(located[0].read_bytes()).hexdigest()


def open_port(directory: Path) -> Port | Refused:
    """Read the account of a port. Refused where there is none (P012), or its source is no installed module (P090)."""
    account = read_account(directory)
    if isinstance(account, Refused):
        return account
    source = account.get("source") or {}
    if not source.get("module"):
        message = f"`{directory}` was made from a file that no installed package holds, so there is nothing to compare"
        help = "install the package that the source belongs to, and convert it by its module's name"
        return Refused((Diagnostic("P090", message, notes=(f"source: {source.get('file')}",), help=help),))
    return Port(
        directory, account["name"], account["module"], account["class"], source["module"], source.get("sha256", "")
    )

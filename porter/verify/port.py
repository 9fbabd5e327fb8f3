"""A port's folder -> its causal class and the class it was made from.

Contract: opening reads, and imports nothing. The port is imported under a package of its own, so that ports of one name
do not meet; what it was made from is `origin`'s affair, and asked for only by those who compare.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from porter.diagnostics import Refused
from porter.emit.consent import read_consented
from porter.emit.edited import edited_files, was_edited
from porter.emit.model_file import class_of
from porter.verify.origin import Origin, package_of


@dataclass(frozen=True)
class Port:
    """What `port.json` says about a port, and where it is."""

    directory: Path
    name: str
    module: str
    class_name: str
    origin: Origin
    split_points: dict[str, Any] | None = None  # `layer_class` and `row_parallel`, as `port.json` has them

    def load_class(self) -> Any:
        """The ported causal class. Raises CannotLoad where the model file is gone or damaged."""
        root = self.directory.resolve()
        file = root / f"{self.module}.py"
        # by content too: a port may be converted again in one process
        content = file.read_bytes() if file.is_file() else b""
        mark = hashlib.sha256(os.fsencode(root) + content).hexdigest()[:12]
        return class_of(package_of(root, f"_port_{self.name}_{mark}"), self.module, self.class_name, file)

    def load_source_class(self) -> Any | Refused:
        """The class that the port was made from. Refused where it does not load."""
        return self.origin.load_class()


def open_port(directory: Path, *, edited: bool = False, trust_remote_code: bool = False) -> Port | Refused:
    """Read the account of a port. What it was made from need not be there.

    Refused where there is none (P072), where it is code out of a folder that nobody consented to run (P141), and where
    its code is not what porter wrote (P135), unless `edited` ones are wanted.
    """
    account = read_consented(directory, trust_remote_code=trust_remote_code)
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
    return Port(directory, name, account["module"], class_name, origin, account.get("split_points"))


def open_to_compare(directory: Path, *, edited: bool = False, trust_remote_code: bool = False) -> Port | Refused:
    """A port whose source is there (else P090) and is what was ported (else P091); then Refused as `open_port` is."""
    port = open_port(directory, edited=True, trust_remote_code=True)  # to look, which executes nothing
    fault = port if isinstance(port, Refused) else port.origin.check()
    return fault or open_port(directory, edited=edited, trust_remote_code=trust_remote_code)

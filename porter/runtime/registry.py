"""Loads ported model classes from a folder of them, by the names users know (see `porter.emit.registered`).

Contract: the class of model `x` is in `<root>/x/<module>.py`. Nothing is imported before `load_model_class` asks for
it, and code out of a folder not without consent (see `porter.emit.consent`). Without a `root` it is `default_root()` at
the time of the call.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
import types
from pathlib import Path
from typing import Any

from porter.diagnostics import Refused
from porter.emit.account import FILE
from porter.emit.consent import read_consented
from porter.emit.model_file import CannotLoad, class_of
from porter.emit.registered import (
    PACKAGE,
    UnknownModel,
    beside_porter,
    default_root,
    entry_of,
    folder_of,
    injection_policy,
    registered,
    root_folder,
)

__all__ = [
    "UnknownModel",
    "beside_porter",
    "default_root",
    "folder_of",
    "injection_policy",
    "load_model_class",
    "registered",
]


def load_model_class(name: str, root: Path | str | None = None, *, trust_remote_code: bool = False) -> Any:
    """The class of model `name`.

    Raises UnknownModel with the known names and the closest one, CannotLoad for a port that is damaged (P072, P142) and
    for code out of a folder that nobody consented to run (P141).
    """
    module, class_name = entry_of(0, name, root)
    folder = root_folder(root).resolve()
    if os.path.exists(folder / name / FILE):  # a port made by hand has none: its code is the user's own
        account = read_consented(folder / name, trust_remote_code=trust_remote_code)
        if isinstance(account, Refused):
            raise CannotLoad(account.diagnostics[0])
    file = folder / name / f"{module.replace('.', '/')}.py"
    return class_of(f"{_package(folder)}.{name}", module, class_name, file)


def _package(root: Path) -> str:
    """A package name for `root`, importable from now on. Each root has its own: two may hold a model of one name."""
    digest = hashlib.sha256(str(root).encode(errors="surrogateescape")).hexdigest()[:8]
    name = PACKAGE if root == beside_porter() else f"{PACKAGE}_{digest}"
    if name not in sys.modules:
        package = types.ModuleType(name, f"Ported models in {root}")
        package.__path__ = [str(root)]
        sys.modules[name] = package
    importlib.invalidate_caches()  # a port may have been written since
    return name

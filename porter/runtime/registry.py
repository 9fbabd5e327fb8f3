"""Loads ported model classes from a folder of them, by the names users know.

Contract: `<root>/registry.py` or `<root>/__init__.py` holds `_MODELS` and `_MODEL_INJECTION_POLICY` as dict literals,
read without running the file; the class of model `x` is in `<root>/x/<module>.py`. Nothing is imported before
`load_model_class` asks for it.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import importlib
import sys
import types
from pathlib import Path
from typing import Any

_PACKAGE = "generated_models"


class UnknownModel(KeyError):
    """No model of that name is registered."""

    def __str__(self) -> str:  # KeyError would show the repr
        return str(self.args[0])


def default_root() -> Path:
    """The `generated_models` folder that stands beside the porter package."""
    return Path(__file__).resolve().parents[2] / _PACKAGE


def registered(root: Path | str | None = None) -> tuple[str, ...]:
    """Names of the models in `root`, sorted."""
    return tuple(sorted(_table("_MODELS", root)))


def injection_policy(name: str, root: Path | str | None = None) -> tuple[str, str, tuple[str, ...]]:
    """Module, layer class and row-parallel outputs of model `name`: what tensor parallelism injects into."""
    module, layer, outputs = _entry("_MODEL_INJECTION_POLICY", name, root)
    return module, layer, tuple(outputs)


def load_model_class(name: str, root: Path | str | None = None) -> Any:
    """The class of model `name`. Raises UnknownModel with the known names and the closest one."""
    module, class_name = _entry("_MODELS", name, root)
    package = _package(default_root() if root is None else Path(root).resolve())
    return getattr(importlib.import_module(f"{package}.{name}.{module}"), class_name)


def _entry(table: str, name: str, root: Path | str | None) -> tuple[Any, ...]:
    entries = _table(table, root)
    if name not in entries:
        close = difflib.get_close_matches(name, entries, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise UnknownModel(f"no model {name!r}: registered are {', '.join(sorted(entries)) or 'none'}{hint}")
    return tuple(entries[name])


def _table(table: str, root: Path | str | None) -> dict[str, Any]:
    folder = default_root() if root is None else Path(root)
    for file in (folder / "registry.py", folder / "__init__.py"):
        if not file.is_file():
            continue
        for statement in ast.parse(file.read_text(encoding="utf-8"), filename=str(file)).body:
            targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
            if any(isinstance(target, ast.Name) and target.id == table for target in targets):
                return dict(ast.literal_eval(statement.value))  # type: ignore[attr-defined]
    return {}


def _package(root: Path) -> str:
    """A package name for `root`, importable from now on. Each root has its own: two may hold a model of one name."""
    digest = hashlib.sha256(str(root).encode()).hexdigest()[:8]
    name = _PACKAGE if root == default_root() else f"{_PACKAGE}_{digest}"
    if name not in sys.modules:
        package = types.ModuleType(name, f"Ported models in {root}")
        package.__path__ = [str(root)]
        sys.modules[name] = package
    importlib.invalidate_caches()  # a port may have been written since
    return name

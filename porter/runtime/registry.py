"""Loads ported model classes from a folder of them, by the names users know.

Contract: `<root>/registry.py` or `<root>/__init__.py` holds `_MODELS` and `_MODEL_INJECTION_POLICY` as dict literals,
read without running the file; the class of model `x` is in `<root>/x/<module>.py`. Nothing is imported before
`load_model_class` asks for it. Without a `root` it is `default_root()` at the time of the call.
"""

from __future__ import annotations

import ast
import contextlib
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
    """`generated_models` of the current folder, where `porter convert` writes, if it holds a registry; else porter's.

    Porter's own stands beside the package: in a checkout there is one, in an installation there is none.
    """
    here = Path(_PACKAGE)  # relative: the current folder may be gone, and then holds nothing
    return here.resolve() if _holds_registry(here) else beside_porter()


def beside_porter() -> Path:
    """The `generated_models` folder that stands beside the porter package."""
    return Path(__file__).resolve().parents[2] / _PACKAGE


def registered(root: Path | str | None = None) -> tuple[str, ...]:
    """Names of the models in `root`, sorted."""
    return tuple(sorted(_table("_MODELS", root)))


def injection_policy(name: str, root: Path | str | None = None) -> tuple[str, str, tuple[str, ...]]:
    """Module, layer class and row-parallel outputs of model `name`: what tensor parallelism injects into."""
    module, layer, outputs = _entry("_MODEL_INJECTION_POLICY", name, root)
    return module, layer, tuple(outputs)


def folder_of(name: str, root: Path | str | None = None) -> Path:
    """The folder of model `name`. Raises UnknownModel as `load_model_class` does."""
    _entry("_MODELS", name, root)
    return _folder(root) / name


def load_model_class(name: str, root: Path | str | None = None) -> Any:
    """The class of model `name`. Raises UnknownModel with the known names and the closest one."""
    module, class_name = _entry("_MODELS", name, root)
    package = _package(_folder(root).resolve())
    with contextlib.redirect_stdout(sys.stderr):  # stdout is for answers: what code says on import is talk
        return getattr(importlib.import_module(f"{package}.{name}.{module}"), class_name)


def _folder(root: Path | str | None) -> Path:
    return default_root() if root is None else Path(root)


def _entry(table: str, name: str, root: Path | str | None) -> tuple[Any, ...]:
    entries = _table(table, root)
    if name not in entries:
        close = difflib.get_close_matches(name, entries, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        known = ", ".join(sorted(entries)) or "none"
        raise UnknownModel(f"no model {name!r} in {_folder(root)}: registered are {known}{hint}")
    return tuple(entries[name])


def _table(table: str, root: Path | str | None) -> dict[str, Any]:
    folder = _folder(root)
    for file in (folder / "registry.py", folder / "__init__.py"):
        if not file.is_file():
            continue
        for statement in ast.parse(file.read_text(encoding="utf-8"), filename=str(file)).body:
            targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
            if any(isinstance(target, ast.Name) and target.id == table for target in targets):
                return dict(ast.literal_eval(statement.value))  # type: ignore[attr-defined]
    return {}


def _holds_registry(folder: Path) -> bool:
    """Whether a folder of that name is one of ports: somebody else's may not even be Python."""
    try:
        return bool(_table("_MODELS", folder))
    except (OSError, ValueError, SyntaxError):
        return False


def _package(root: Path) -> str:
    """A package name for `root`, importable from now on. Each root has its own: two may hold a model of one name."""
    digest = hashlib.sha256(str(root).encode()).hexdigest()[:8]
    name = _PACKAGE if root == beside_porter() else f"{_PACKAGE}_{digest}"
    if name not in sys.modules:
        package = types.ModuleType(name, f"Ported models in {root}")
        package.__path__ = [str(root)]
        sys.modules[name] = package
    importlib.invalidate_caches()  # a port may have been written since
    return name

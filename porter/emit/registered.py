"""The ports of a folder by the names users know: read from what is written there, without running any of it.

Contract: what a folder holds is told by the `port.json` of each port in it. A port without one, made by hand, is told
by `_MODELS` and `_MODEL_INJECTION_POLICY` in `<root>/registry.py` or `<root>/__init__.py`, dict literals that are read
without running the file; porter keeps them in step for launchers that read them themselves. Without a `root` it is
`default_root()` at the time of the call. Neither torch nor transformers is imported: a mistyped name is told at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from porter.diagnostics import Diagnostic, Refused, nearest
from porter.emit.model_file import CannotLoad
from porter.emit.registry import heal, ports_in, tables_of, written_tables

PACKAGE = "generated_models"


class UnknownModel(KeyError):
    """No model of that name is registered."""

    def __str__(self) -> str:  # KeyError would show the repr
        return str(self.args[0])


def default_root() -> Path:
    """`generated_models` of the current folder, where `porter convert` writes, if it holds a registry; else porter's.

    Porter's own stands beside the package: in a checkout there is one, in an installation there is none.
    """
    here = Path(PACKAGE)  # relative: the current folder may be gone, and then holds nothing
    return here.resolve() if _holds_registry(here) else beside_porter()


def beside_porter() -> Path:
    """The `generated_models` folder that stands beside the porter package."""
    return Path(__file__).resolve().parents[2] / PACKAGE


def registered(root: Path | str | None = None) -> tuple[str, ...]:
    """Names of the models in `root`, sorted."""
    return tuple(sorted(_tables(root)[0]))


def injection_policy(name: str, root: Path | str | None = None) -> tuple[str, str, tuple[str, ...]]:
    """Module, layer class and row-parallel outputs of model `name`: what tensor parallelism injects into."""
    module, layer, outputs = entry_of(1, name, root)
    return module, layer, tuple(outputs)


def folder_of(name: str, root: Path | str | None = None) -> Path:
    """The folder of model `name`. Raises UnknownModel as `load_model_class` does."""
    entry_of(0, name, root)
    return root_folder(root) / name


def root_folder(root: Path | str | None) -> Path:
    return default_root() if root is None else Path(root)


def entry_of(table: int, name: str, root: Path | str | None) -> tuple[Any, ...]:
    found = _tables(root)
    entries: Mapping[str, Any] = found[table]
    if name not in entries:
        close = nearest(name, entries, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        known = ", ".join(sorted(entries)) or "none"
        raise UnknownModel(f"no model {name!r} in {root_folder(root)}: registered are {known}{hint}")
    entry = entries[name]
    if not _is_entry(table, entry):
        wanted = ("(module, class)", "(module, layer class, outputs)")[table]
        message = f"the registry of `{root_folder(root)}` says {entry!r} of `{name}`, not {wanted}"
        raise CannotLoad(Diagnostic("P142", message, help="mend that file, or convert the port again"))
    return tuple(entry)


def _is_entry(table: int, entry: Any) -> bool:
    if not isinstance(entry, (tuple, list)) or len(entry) != 2 + table:
        return False
    outputs = entry[2] if table else ()
    is_text = all(isinstance(item, str) and item for item in entry[:2])
    return is_text and isinstance(outputs, (tuple, list)) and all(isinstance(item, str) for item in outputs)


def _tables(root: Path | str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """`_MODELS` and `_MODEL_INJECTION_POLICY` of a folder: what its ports say, then what is written of others.

    Raises CannotLoad (P073) where the file cannot be read and no port speaks for itself.
    """
    folder = root_folder(root)
    heal(folder)
    models, policies = tables_of(ports_in(folder)[0])
    written = written_tables(folder)
    if isinstance(written, Refused):
        if models:
            return models, policies
        raise CannotLoad(written.diagnostics[0])
    others, other_policies = written
    return {**others, **models}, {**other_policies, **policies}


def _holds_registry(folder: Path) -> bool:
    """Whether a folder of that name is one of ports: somebody else's may not even be Python."""
    try:
        return bool(_tables(folder)[0])
    except (OSError, CannotLoad):
        return False

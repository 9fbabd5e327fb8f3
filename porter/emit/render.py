"""A port -> the bytes of every file of its folder. Nothing is written here: what cannot be rendered costs nothing."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from porter.emit.account import FILE, account, as_data
from porter.emit.diff import diff
from porter.emit.templated import package_file, run_script, with_header
from porter.ported import Ported


@dataclass(frozen=True)
class Rendered:
    """A port's folder: file name -> bytes, and the data of its `port.json`."""

    files: dict[str, bytes] = field(repr=False)
    account: dict[str, Any] = field(repr=False)


def render_port(ported: Ported, place: Path) -> Rendered:
    """The port's folder, to be written to `place`: the same port gives the same bytes, wherever that is.

    Only the way from there to a source that is a file of its own is part of them.
    """
    stem = ported.source.path.stem
    module = stem if stem.startswith("modeling_") else f"modeling_{stem}"
    code = with_header(ported, place)
    texts = {sibling.name: sibling.text for sibling in ported.source.siblings}
    texts |= {
        f"{module}.py": code,
        "__init__.py": package_file(ported, module, exported_names(ported.code)),
        f"run_{ported.name}.py": run_script(ported),
        "port.diff": diff(ported.source.text, code, ported.changes, ported.source.display),
    }
    files = {name: text.encode("utf-8") for name, text in texts.items()}
    data = as_data(ported, module, files, place)
    files[FILE] = account(data).encode("utf-8")
    return Rendered(files, data)


def exported_names(code: str) -> tuple[str, ...]:
    """What `__all__` lists and the module defines; without `__all__`, its public classes."""
    tree = ast.parse(code)
    classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    listed = next((names for node in tree.body if (names := _all_of(node)) is not None), None)
    if listed is None:
        return tuple(name for name in classes if not name.startswith("_"))
    return tuple(name for name in dict.fromkeys(listed) if name in {*classes, *functions})


def _all_of(node: ast.stmt) -> list[str] | None:
    if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.List | ast.Tuple):
        return None
    if not any(isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets):
        return None
    values = [item.value for item in node.value.elts if isinstance(item, ast.Constant)]
    return [value for value in values if isinstance(value, str)]

"""The names that a module offers to who imports it."""

from __future__ import annotations

import libcst as cst

from porter.tree.functions import statements
from porter.tree.values import text_of_constant


def exported_names(module: cst.Module) -> tuple[str, ...]:
    """What `__all__` lists and the module defines; without `__all__`, its public classes."""
    body = statements(module)
    defined = [node.name.value for node in body if isinstance(node, (cst.ClassDef, cst.FunctionDef))]
    listed = next((names for node in body if (names := _all_of(node)) is not None), None)
    if listed is None:
        classes = (node.name.value for node in body if isinstance(node, cst.ClassDef))
        return tuple(name for name in classes if not name.startswith("_"))
    return tuple(name for name in dict.fromkeys(listed) if name in defined)


def _all_of(node: cst.CSTNode) -> list[str] | None:
    if not isinstance(node, cst.Assign) or not isinstance(node.value, (cst.List, cst.Tuple)):
        return None
    names = (item.target.value for item in node.targets if isinstance(item.target, cst.Name))
    if "__all__" not in names:
        return None
    return [text for item in node.value.elements if (text := text_of_constant(item.value)) is not None]

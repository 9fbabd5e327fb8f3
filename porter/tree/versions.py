"""A version for every name: which assignment it refers to.

0 is the value the function was called with (or a global), n the n-th assignment in the order of the text. Two uses of
one name with one version are the same value in straight-line code; a loop or branch counts as written. A method called
`name_()`, an element or an attribute that is set, make another value of what the name holds; `self` stays itself.
"""

from __future__ import annotations

import libcst as cst

from porter.tree.fields import Function, Node, evaluated
from porter.tree.functions import every_parameter
from porter.tree.imports import imports_of
from porter.tree.names import is_variable


def number_names(function: Function, stored: frozenset[Node] | set[Node], versions: dict[Node, int]) -> None:
    """Add the version of every `Name` in the body of `function` to `versions`; `stored` are the nodes that bind."""
    numbering = _Numbering(stored, versions)
    numbering.visit(function.body)


_CHANGING = frozenset({cst.Call, cst.Attribute, cst.Subscript})


class _Numbering:
    """Numbers names in evaluation order: a value is read before its target is written."""

    def __init__(self, stored: frozenset[Node] | set[Node], versions: dict[Node, int]) -> None:
        self.stored = stored
        self.versions = versions
        self.current: dict[str, int] = {}

    def visit(self, node: Node) -> None:
        kind = node.__class__
        if kind is cst.Name:
            if is_variable(node):
                self._number(node)  # type: ignore[arg-type]
        elif kind is cst.FunctionDef or kind is cst.Lambda:
            if isinstance(node, cst.FunctionDef):
                self._next(node.name.value)
            for name in sorted(every_parameter(node)):  # type: ignore[arg-type]
                self._next(name)  # another value than the name outside
            self.visit(node.body)  # type: ignore[attr-defined]
        elif kind is cst.Import or kind is cst.ImportFrom:
            for item in imports_of(node):
                self._next(item.bound)
        elif kind is not cst.Annotation:
            for child in evaluated(node):
                self.visit(child)
            if isinstance(node, cst.ClassDef):
                self._next(node.name.value)
            if kind in _CHANGING:
                self._changes_in_place(node)

    def _number(self, node: cst.Name) -> None:
        if node in self.stored:
            self._next(node.value)
        self.versions[node] = self.current.get(node.value, 0)

    def _next(self, name: str) -> None:
        self.current[name] = self.current.get(name, 0) + 1

    def _changes_in_place(self, node: Node) -> None:
        changed: Node | None = None
        if isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute):
            method = node.func.attr.value
            changed = node.func.value if method.endswith("_") and method[0] != "_" else None
        elif isinstance(node, (cst.Attribute, cst.Subscript)) and node in self.stored:
            changed = node.value
        while isinstance(changed, (cst.Attribute, cst.Subscript)):
            changed = changed.value
        if isinstance(changed, cst.Name) and changed.value != "self" and is_variable(changed):
            self._next(changed.value)

"""A version for every name: which assignment it refers to.

0 is the value the function was called with (or a global), n the n-th assignment in the order of the text. Two uses of
one name with one version are the same value in straight-line code; a loop or branch counts as written. A method called
`name_()`, an element or an attribute that is set, make another value of what the name holds; `self` stays itself.
"""

from __future__ import annotations

import libcst as cst

from porter.tree.fields import Function, Node, evaluated
from porter.tree.functions import every_parameter, parameters_of
from porter.tree.imports import imports_of
from porter.tree.names import is_variable


def number_names(function: Function, stored: frozenset[Node] | set[Node], versions: dict[Node, int]) -> None:
    """Add the version of every `Name` in the body of `function` to `versions`; `stored` are the nodes that bind."""
    numbering = _Numbering(stored, versions)
    numbering.visit(function.body)


_CHANGING = frozenset({cst.Call, cst.Attribute, cst.Subscript})
_COMPREHENSIONS = frozenset({cst.ListComp, cst.SetComp, cst.DictComp, cst.GeneratorExp})


class _Numbering:
    """Numbers names in evaluation order: a value is read before its target is written."""

    def __init__(self, stored: frozenset[Node] | set[Node], versions: dict[Node, int]) -> None:
        self.stored = stored
        self.versions = versions
        self.current: dict[str, int] = {}  # the version that a name has here
        self.last: dict[str, int] = {}  # the last that was given to it

    def visit(self, node: Node) -> None:
        kind = node.__class__
        if kind is cst.Name:
            if is_variable(node):
                self._number(node)  # type: ignore[arg-type]
        elif node.__class__ is cst.FunctionDef or node.__class__ is cst.Lambda:
            self._function(node)
        elif kind in _COMPREHENSIONS:
            outside = dict(self.current)
            for child in evaluated(node):
                self.visit(child)
            self.current = outside
        elif kind is cst.Import or kind is cst.ImportFrom:
            for item in imports_of(node):
                self._next(item.bound)
        elif kind is not cst.Annotation:
            for child in evaluated(node):
                self.visit(child)
            if node.__class__ is cst.ClassDef:
                self._next(node.name.value)
            if kind in _CHANGING:
                self._changes_in_place(node)

    def _function(self, node: Function | cst.Lambda) -> None:
        """Decorators and defaults belong to the code outside, parameters and what the body binds do not."""
        if isinstance(node, cst.FunctionDef):
            for decorator in node.decorators:
                self.visit(decorator)
        for parameter in parameters_of(node):
            if parameter.default is not None:
                self.visit(parameter.default)
        if isinstance(node, cst.FunctionDef):
            self._next(node.name.value)
        outside = dict(self.current)
        for name in sorted(every_parameter(node)):
            self._next(name)
        self.visit(node.body)
        self.current = outside

    def _number(self, node: cst.Name) -> None:
        if node in self.stored:
            self._next(node.value)
        self.versions[node] = self.current.get(node.value, 0)

    def _next(self, name: str) -> None:
        self.last[name] = self.current[name] = self.last.get(name, 0) + 1

    def _changes_in_place(self, node: Node) -> None:
        changed: Node | None = None
        if node.__class__ is cst.Call:
            if node.func.__class__ is cst.Attribute:
                method = node.func.attr.value
                changed = node.func.value if method.endswith("_") and method[0] != "_" else None
        elif node in self.stored:
            changed = node.value  # type: ignore[attr-defined]
        while changed.__class__ is cst.Attribute or changed.__class__ is cst.Subscript:
            changed = changed.value
        if changed.__class__ is cst.Name and changed.value != "self" and is_variable(changed):
            self._next(changed.value)

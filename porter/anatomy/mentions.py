"""Which classes a piece of code names: of this file, of PyTorch, of elsewhere.

Contract: what is named may be built. Locals, module variables (tables, aliases), class attributes and helpers are
followed to what they are made of, whatever the branch; annotations, `isinstance`, `super` and raised errors name
nothing. So a class may be told of that is never built, and none is missed that is built by a name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import libcst as cst

from porter.anatomy.origins import is_elsewhere, is_of_torch
from porter.tree import Function, Node, Tree
from porter.tree.functions import every_parameter, methods, statements
from porter.tree.names import dotted, self_attribute
from porter.tree.values import text_of_constant

ADDERS = frozenset({"append", "extend", "insert", "add_module", "register_module", "setdefault", "update"})
_ASKING = frozenset({"isinstance", "issubclass", "super", "hasattr"})
_SILENT = frozenset({cst.Annotation, cst.Raise})
_AT_TIMES_SILENT = frozenset({cst.Call, cst.Attribute, cst.DictElement})
_REFUSED = "flash_attention"  # an attention implementation that no port has: what a table holds under it is not built
_UNREADABLE = frozenset({"globals", "locals", "getattr", "eval", "import_module"})


@dataclass(frozen=True)
class Mention:
    """What code names. `kind`: a class `own` of this file, of `torch`, of `elsewhere`, or a `function` of elsewhere.

    `at` is where the code says it.
    """

    name: str
    kind: str
    at: Node = field(compare=False, repr=False)


@dataclass(frozen=True, eq=False)
class Scope:
    """What names mean in a function of a class: `values` of its locals, and the class for `self.name`."""

    values: dict[str, list[Node]]
    names: frozenset[str]
    cls: cst.ClassDef | None = None


class Mentions:
    """Reads one module."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree

    @cached_property
    def _module(self) -> Scope:
        """Values of the variables of the module."""
        nodes = [node for item in self.tree.statements if not _defines(item) for node in self.tree.nodes(item)]
        return Scope(values_of(nodes), frozenset())

    @cached_property
    def _conditional(self) -> dict[str, cst.ClassDef]:
        """Classes that the module defines under a condition: nobody can say which of them a name is."""
        nodes = (node for item in self.tree.statements if not _defines(item) for node in self.tree.nodes(item))
        return {node.name.value: node for node in nodes if isinstance(node, cst.ClassDef)}

    def scope(self, function: Function, cls: cst.ClassDef | None) -> Scope:
        """The scope of a function."""
        values = values_of(self.tree.nodes(function))
        return Scope(values, frozenset(values) | every_parameter(function), cls)

    def of(
        self, root: Node, scope: Scope, seen: set[object] | None = None, at: Node | None = None
    ) -> Iterator[Mention]:
        """What the code below `root` names, in the order of the text; `seen` is what was followed before."""
        seen = set() if seen is None else seen
        called: set[Node] = set()
        for node in code_below(root, self.tree):
            kind = node.__class__
            if kind is cst.Call:
                func: Node = node.func  # type: ignore[attr-defined]
                called.add(func)
                if isinstance(func, (cst.Subscript, cst.Call)):
                    yield from self._unreadable(func, at or node)
            elif kind is cst.Name:
                yield from self._named(node, node in called, scope, seen, at or node)  # type: ignore[arg-type]
            elif kind is cst.Attribute:
                yield from self._attribute(node, node in called, scope, seen, at or node)  # type: ignore[arg-type]

    def _named(self, node: cst.Name, is_called: bool, scope: Scope, seen: set[object], at: Node) -> Iterator[Mention]:
        name, tree = node.value, self.tree
        if name in scope.names:
            if _first(seen, (scope, name)):
                for value in scope.values.get(name, ()):
                    yield from self.of(value, scope, seen, at)
        elif name in tree.classes:
            yield Mention(name, "own", at)
        elif name in self._conditional:
            if _first(seen, name):
                yield Mention(name, "elsewhere", at)
                yield from self.of(self._conditional[name].body, self._module, seen, at)
        elif name in self._module.values:
            if _first(seen, name):
                for value in self._module.values[name]:
                    yield from self.of(value, self._module, seen, at)
        elif name in tree.functions:
            if is_called and _first(seen, name):
                function = tree.functions[name]
                yield from self.of(function.body, self.scope(function, None), seen, at)
        else:
            yield from self._imported(name, is_called, at)

    def _attribute(
        self, node: cst.Attribute, is_called: bool, scope: Scope, seen: set[object], at: Node
    ) -> Iterator[Mention]:
        attribute = self_attribute(node)
        if attribute is not None and scope.cls is not None:
            if is_called and _first(seen, (scope.cls, attribute)):
                yield from self._of_class(attribute, scope.cls, seen, at)
        elif is_called or is_capitalized(node.attr.value):
            name = dotted(node)
            if name is not None and name.split(".")[0] in self.tree.imports:
                yield from self._imported(name, is_called, at)

    def _imported(self, name: str, is_called: bool, at: Node) -> Iterator[Mention]:
        last = name.split(".")[-1]
        is_imported = name.split(".")[0] in self.tree.imports
        if is_capitalized(last) and (is_called or (is_imported and not last.isupper())):
            if is_of_torch(name, self.tree):
                yield Mention(last, "torch", at)
            if is_elsewhere(name, self.tree):
                yield Mention(last, "elsewhere", at)
        elif is_called and is_imported and name.islower() and is_elsewhere(name, self.tree):
            yield Mention(last, "function", at)

    def _of_class(self, attribute: str, cls: cst.ClassDef, seen: set[object], at: Node) -> Iterator[Mention]:
        """What `self.attribute(...)` names: the body of a method, the value of a class attribute."""
        method = methods(cls).get(attribute)
        if method is not None:
            yield from self.of(method.body, self.scope(method, cls), seen, at)
        for item in statements(cls.body):
            if isinstance(item, cst.Assign) and any(dotted(t.target) == attribute for t in item.targets):
                yield from self.of(item.value, self._module, seen, at)

    def _unreadable(self, func: Node, at: Node) -> Iterator[Mention]:
        """`TABLE[...](...)` and `getattr(...)(...)` of what names no class: built, and not to be read."""
        root: Node = func
        while isinstance(root, (cst.Subscript, cst.Call, cst.Attribute)):
            root = root.func if isinstance(root, cst.Call) else root.value
        if not isinstance(root, cst.Name):
            return
        name = root.value
        is_table = isinstance(func, cst.Subscript) and name in self._module.values
        if is_table and any(True for value in self._module.values[name] for _ in self.of(value, self._module)):
            return
        if is_table or name in _UNREADABLE or (name in self.tree.imports and is_elsewhere(name, self.tree)):
            yield Mention(name, "elsewhere", at)


def _first(seen: set[object], what: object) -> bool:
    """Whether this is met for the first time."""
    if what in seen:
        return False
    seen.add(what)
    return True


def is_capitalized(name: str) -> bool:
    """Whether a name is spelled as classes are."""
    return name.lstrip("_")[:1].isupper()


def code_below(root: Node, tree: Tree) -> Iterator[Node]:
    """The nodes below one, without what names classes and builds none: annotations, questions, errors."""
    nodes = tree.nodes(root)
    number = 0
    while number < len(nodes):
        node = nodes[number]
        kind = node.__class__
        if kind in _SILENT or (kind in _AT_TIMES_SILENT and _is_silent(node)):
            number += len(tree.nodes(node))
        else:
            yield node
            number += 1


def _is_silent(node: Node) -> bool:
    """`isinstance(...)` and its like, `Base.__init__`, and what a table has for an attention that no port runs."""
    if isinstance(node, cst.DictElement):
        return (text_of_constant(node.key) or "").startswith(_REFUSED)
    if isinstance(node, cst.Call):
        return isinstance(node.func, cst.Name) and node.func.value in _ASKING
    return isinstance(node, cst.Attribute) and node.attr.value == "__init__"


def values_of(nodes: Sequence[Node]) -> dict[str, list[Node]]:
    """Names that code binds or adds to, and the expressions that are put there."""
    found: dict[str, list[Node]] = {}
    for node in nodes:
        for name, value in _bound(node):
            found.setdefault(name, []).append(value)
    return found


def _bound(node: Node) -> Iterator[tuple[str, Node]]:
    if isinstance(node, cst.FunctionDef):
        yield node.name.value, node.body
    elif isinstance(node, cst.Assign):
        yield from ((leaf, node.value) for target in node.targets for leaf in _leaves(target.target))
    elif isinstance(node, (cst.AnnAssign, cst.NamedExpr, cst.AugAssign)):
        if isinstance(node.target, cst.Name) and node.value is not None:
            yield node.target.value, node.value
    elif isinstance(node, (cst.For, cst.CompFor)):
        yield from ((leaf, node.iter) for leaf in _leaves(node.target))
    elif isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute) and node.args:
        owner = node.func.value
        if node.func.attr.value in ADDERS and isinstance(owner, cst.Name):
            yield owner.value, node.args[-1].value


def _leaves(target: Node) -> Iterator[str]:
    if isinstance(target, cst.Name):
        yield target.value
    elif isinstance(target, (cst.Tuple, cst.List)):
        for element in target.elements:
            yield from _leaves(element.value)
    elif isinstance(target, cst.Subscript) and isinstance(target.value, cst.Name):
        yield target.value.value  # `table[key] = ...`


def _defines(statement: Node) -> bool:
    return isinstance(statement, (cst.FunctionDef, cst.ClassDef, cst.Import, cst.ImportFrom))

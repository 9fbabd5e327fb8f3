"""What a module does to things it did not make in that place: attributes set on classes and modules, tables changed.

A patch is told by names alone: `nn.Linear = Mine`, `Attention.forward = mine`, `TABLE["silu"] = mine`,
`TABLE.register("sdpa", mine)`, `setattr(Attention, "forward", mine)`. What `self` or another local name holds is no
business of the module's names, but an attribute that is set on it may hide a method.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import libcst as cst

from porter.tree.fields import Node
from porter.tree.functions import every_parameter
from porter.tree.names import dotted, is_variable, last_name
from porter.tree.values import text_of_constant

if TYPE_CHECKING:
    from porter.tree.module import Tree

_CHANGING = frozenset(
    {"register", "update", "setdefault", "pop", "popitem", "clear", "__setitem__", "__delitem__", "__ior__"}
)
_SETTING = frozenset({"setattr", "delattr", "__setattr__", "__delattr__"})
_UNBOUNDED = frozenset({"globals", "exec", "eval"})
_NAMESPACE = frozenset({"vars", "locals"})  # outside of functions, and of nothing: the names there
_NAMESPACES = frozenset({"__globals__", "f_globals", "f_locals"})  # as attributes
ANYTHING = "*"  # the root of a patch that may be of anything


@dataclass(frozen=True)
class Patch:
    """One of them. `root` is a name of the module, `self`, or `ANYTHING`; None for another local one, or none."""

    root: str | None
    names: tuple[str, ...]  # behind the root: `functional`, `softmax` of `nn.functional.softmax = ...`
    node: Node = field(repr=False)

    @property
    def changed(self) -> str | None:
        """The last name, that of what is changed; None where it has none."""
        return self.names[-1] if self.names else self.root


def patches_of(tree: Tree) -> Iterator[Patch]:
    """Every patch of a module, in no order. `globals()`, `exec`, `sys.modules` and their like may change anything."""
    for node in tree.stored:
        held: Node = node
        while isinstance(held, cst.Subscript):
            held = held.value
        if isinstance(held, cst.Attribute) or held is not node:
            found = _patch(held, node, tree)
            if found.changed is not None:
                yield found
    for node in tree.nodes(tree.module):
        if node.__class__ is cst.Call:
            yield from _by_call(node, tree)
        elif node.__class__ is cst.Attribute and _is_of_all_names(node):
            yield Patch(ANYTHING, (), node)


def _by_call(call: cst.Call, tree: Tree) -> Iterator[Patch]:
    name = last_name(call.func) or (call.func.attr.value if isinstance(call.func, cst.Attribute) else "")
    if _is_built_in(call.func, tree) and (
        name in _UNBOUNDED or (name in _NAMESPACE and not call.args and not _is_in_function(call, tree))
    ):
        yield Patch(ANYTHING, (), call)
    elif name in _SETTING and len(call.args) >= 2:
        holder, attribute = call.args[0].value, text_of_constant(call.args[1].value)
        found = _patch(holder, call, tree)
        if attribute is not None:
            yield Patch(found.root, (*found.names, attribute), call)
        elif found.root is not None:
            yield Patch(found.root, found.names, call)
    elif name in _CHANGING and isinstance(call.func, cst.Attribute):
        found = _patch(call.func.value, call, tree)
        if found.changed is not None:
            yield found


def _patch(changed: Node, node: Node, tree: Tree) -> Patch:
    names: list[str] = []
    while isinstance(changed, (cst.Attribute, cst.Subscript, cst.Call)):
        if isinstance(changed, cst.Call):
            if last_name(changed.func) != "vars" or len(changed.args) != 1:
                break
            names.append("__dict__")
            changed = changed.args[0].value
            continue
        if isinstance(changed, cst.Attribute):
            names.append(changed.attr.value)
        changed = changed.value
    root = changed.value if isinstance(changed, cst.Name) and is_variable(changed) else None
    if isinstance(changed, cst.Name) and root != "self" and _is_local(changed, tree):
        root = None
    return Patch(root, tuple(reversed(names)), node)


def _is_of_all_names(attribute: cst.Attribute) -> bool:
    name = attribute.attr.value
    return name in _NAMESPACES or (name == "modules" and dotted(attribute) == "sys.modules")


def _is_built_in(function: Node, tree: Tree) -> bool:
    """Whether it is called as one of Python's own: by its bare name, or as `builtins.globals`."""
    if isinstance(function, cst.Attribute):
        return (dotted(function) or "").startswith(("builtins.", "__builtins__."))
    return isinstance(function, cst.Name) and not _is_local(function, tree)


def _is_in_function(node: Node, tree: Tree) -> bool:
    here: Node | None = node
    while here is not None and not isinstance(here, (cst.FunctionDef, cst.Lambda)):
        here = tree.parents.get(here)
    return here is not None


def _is_local(name: cst.Name, tree: Tree) -> bool:
    """Whether a function around the name binds it."""
    here: Node | None = tree.parents.get(name)
    while here is not None:
        if isinstance(here, cst.FunctionDef) and name.value in every_parameter(here) | tree.assigned(here):
            return True
        if isinstance(here, cst.Lambda) and name.value in every_parameter(here):
            return True
        here = tree.parents.get(here)
    return False

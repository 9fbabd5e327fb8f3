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
    """Every patch of a module, in no order. `globals()`, `exec` and `sys.modules` may change anything."""
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
        elif node.__class__ is cst.Attribute and node.attr.value == "modules" and dotted(node) == "sys.modules":
            yield Patch(ANYTHING, (), node)


def _by_call(call: cst.Call, tree: Tree) -> Iterator[Patch]:
    name = last_name(call.func) or (call.func.attr.value if isinstance(call.func, cst.Attribute) else "")
    if name in _UNBOUNDED and isinstance(call.func, cst.Name) and not _is_local(call.func, tree):
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
    while isinstance(changed, (cst.Attribute, cst.Subscript)):
        if isinstance(changed, cst.Attribute):
            names.append(changed.attr.value)
        changed = changed.value
    root = changed.value if isinstance(changed, cst.Name) and is_variable(changed) else None
    if isinstance(changed, cst.Name) and root != "self" and _is_local(changed, tree):
        root = None
    return Patch(root, tuple(reversed(names)), node)


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

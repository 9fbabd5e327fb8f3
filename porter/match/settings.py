"""Everything in a module that may set an attribute of a class's instances, or be taken for it on the way to a call.

A rule that needs an attribute to have a certain value asks for all of them: an assignment in the class, in what it
derives from or what derives from it; one from outside; an argument of that name, which a `**` may hand on; a string of
that name, which may be used in ways that nobody can follow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import libcst as cst

from porter.match.definitions import Definition
from porter.match.subject import Place, Subject
from porter.tree import Node, Tree
from porter.tree.fields import plain
from porter.tree.functions import methods, statements
from porter.tree.names import BINDERS, self_attribute, stored_names, targets
from porter.tree.values import text_of_constant

_STRINGS = (cst.SimpleString, cst.ConcatenatedString)
ROOTS = ("torch.nn.Module", "torch.nn.modules.module.Module")


@dataclass(frozen=True)
class Setting:
    """One of them: how it reads, the value where it can be told, the node of the searched module to point at."""

    text: str
    value: Node | None = field(repr=False)
    node: Node | None = field(repr=False)


def settings_of(name: str, place: Place, subject: Subject) -> Iterator[Setting]:
    """What sets attribute `name` of instances of the place's class."""
    tree, anatomy = subject.tree, subject.anatomy
    family: dict[str, None] = {}
    pending = [place.owner, *anatomy.subclasses(place.owner)] if place.owner else []
    while pending:
        cls = pending.pop(0)
        if cls in tree.classes and cls not in family:
            family[cls] = None
            pending += anatomy.bases[cls]
            yield from _in_class(name, tree.classes[cls], tree, subject)
            yield from _in_foreign_bases(name, Definition(tree, tree.classes[cls]), subject)
    definitions = [*tree.functions.values()]
    for cls in anatomy.reached:
        definitions += methods(tree.classes[cls]).values()
    for definition in definitions:
        for node in tree.nodes(definition):
            yield from _from_outside(name, node, tree)


def _in_class(name: str, cls: cst.ClassDef, tree: Tree, subject: Subject) -> Iterator[Setting]:
    """Assignments in a class body and to `self` in its methods."""
    at = (lambda node: node) if tree is subject.tree else (lambda node: None)
    for statement in statements(cls.body):
        if isinstance(statement, cst.FunctionDef):
            if statement.name.value == name:
                yield Setting(f"{cls.name.value}.{name}", None, at(statement))
        elif name in stored_names(statement):
            value = statement.value if isinstance(statement, (cst.Assign, cst.AnnAssign)) else None
            yield Setting(tree.statement_code(statement), value, at(statement))
    for node in tree.nodes(cls):
        kind = node.__class__
        bound = targets(node) if kind in BINDERS else iter(())
        for leaf in bound:
            if self_attribute(leaf) == name:
                yield Setting(tree.statement_code(node), _value(node, tree), at(leaf))


def _in_foreign_bases(name: str, definition: Definition, subject: Subject) -> Iterator[Setting]:
    """The same in bases of other files, at any depth; a base that cannot be read may set anything."""
    tree, pending = definition.tree, [definition]
    seen: set[str] = set()
    while pending:
        here = pending.pop()
        assert isinstance(here.node, cst.ClassDef)
        for argument in here.node.bases:
            text = here.tree.code(argument.value)
            if here.tree.qualified(text) in ROOTS or text == "object" or (here.tree is tree and text in tree.classes):
                continue
            base = subject.definitions.of(text, here.tree)
            if isinstance(base, str) or not isinstance(base.node, cst.ClassDef):
                yield Setting(text, None, argument.value if here.tree is subject.tree else None)
            elif base.place not in seen:
                seen.add(base.place)
                pending.append(base)
                yield from _in_class(name, base.node, base.tree, subject)


def _from_outside(name: str, node: Node, tree: Tree) -> Iterator[Setting]:
    kind = node.__class__
    if kind in BINDERS:
        for leaf in targets(node):
            if isinstance(leaf, cst.Attribute) and leaf.attr.value == name and self_attribute(leaf) is None:
                yield Setting(tree.statement_code(node), _value(node, tree), leaf)
    elif kind is cst.Arg and plain(node.keyword) == name:  # type: ignore[attr-defined]
        yield Setting(f"{name}={tree.code(node.value)}", node.value, node.value)  # type: ignore[attr-defined]
    elif kind in _STRINGS and text_of_constant(node) == name:
        yield Setting(tree.code(node), None, node)


def _value(node: Node, tree: Tree) -> Node | None:
    """What is assigned, where it is one value for one target."""
    if isinstance(node, cst.AssignTarget):
        holder = tree.parents[node]
        is_one = isinstance(holder, cst.Assign) and isinstance(node.target, cst.Attribute)
        return holder.value if is_one else None  # type: ignore[attr-defined]
    return node.value if isinstance(node, (cst.AnnAssign, cst.NamedExpr)) else None

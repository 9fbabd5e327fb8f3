"""Merged parameters: a merge maps names of a checkpoint, so it holds for a whole module or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import libcst as cst

from porter.anatomy import Anatomy, Member
from porter.match.found import Application
from porter.tree import Node, Tree
from porter.tree.functions import methods
from porter.tree.names import self_attribute
from porter.tree.values import text_of_constant

_OVER_MODULES = frozenset({"modules", "named_modules", "children", "named_children"})
_OVER_WEIGHTS = frozenset({"parameters", "named_parameters", "state_dict"})
_DRAWING = frozenset({"_init_weights", "init_weights"})  # of a model that is trained: its weights are loaded here


def broken_merges(
    applications: Sequence[Application], tree: Tree, anatomy: Anatomy, converted: frozenset[str]
) -> Iterator[tuple[str, Node | None]]:
    """Why the merges of some applications, the same in all of them, do not hold, and at which code.

    Every class with the parts of a merge must take it, and no other code may use them. `converted` are parameters that
    the source library makes out of other tensors.
    """
    owners = {hit.owner for application in applications for hit in application.hits}
    roots: frozenset[Node] = frozenset().union(*(application.roots for application in applications))
    for _, parts, _ in applications[0].merges:
        made = [part for part in parts if any(part in name.split(".") for name in converted)]
        if made:
            yield f"the source library makes `{made[0]}` out of other tensors of a checkpoint", None
        walk = _walk_over_parts(tree, anatomy)
        if walk is not None:
            yield f"`{tree.code(walk)}` goes over modules or weights, of which a merge makes others", walk
        stray = _stray_part(parts, owners, roots, tree, anatomy)
        if stray is not None:
            yield f"`{tree.code(stray)}` is used outside what the rule rewrites", stray


def _stray_part(
    parts: tuple[str, ...], owners: set[str | None], roots: frozenset[Node], tree: Tree, anatomy: Anatomy
) -> Node | None:
    """Code that reads or sets one of the parts, by attribute or by a string, and is not rewritten."""
    for function in tree.functions.values():
        for node in tree.nodes(function):
            if _name_of(node) in parts and not tree.within(node, roots):
                return node
    for name, cls in tree.classes.items():
        derived = any(owner and name in anatomy.subclasses(owner) for owner in owners)
        if name not in anatomy.reached and (derived or any(part in anatomy.members[name] for part in parts)):
            continue  # a class outside the causal model: it has such parts of its own, or those of one that is merged
        own = _parts_of_its_own(name, parts, owners, anatomy)
        for node in (below for method in methods(cls).values() for below in tree.nodes(method)):
            if _name_of(node) in parts and self_attribute(node) not in own and not tree.within(node, roots):
                return node
    return None


def _walk_over_parts(tree: Tree, anatomy: Anatomy) -> Node | None:
    """Code of the model that looks at whatever modules or weights there are: it would see other ones."""
    for cls in (tree.classes[name] for name in anatomy.reached if name in tree.classes):
        for method in methods(cls).values():
            wanted = _OVER_MODULES if method.name.value == "__init__" else _OVER_MODULES | _OVER_WEIGHTS
            for node in tree.nodes(method) if method.name.value not in _DRAWING else ():
                if node.__class__ is cst.Attribute and node.attr.value == "_modules":
                    return node
                if _method_called(node) in wanted and not _is_first_of_all(node, tree):
                    return node
    return None


def _method_called(node: Node) -> str | None:
    if not isinstance(node, cst.Call) or not isinstance(node.func, cst.Attribute):
        return None
    return node.func.attr.value


def _is_first_of_all(call: Node, tree: Tree) -> bool:
    """`next(self.parameters())`, which is asked for a dtype or a device."""
    argument = tree.parents.get(call)
    outer = tree.parents.get(argument) if isinstance(argument, cst.Arg) else None
    return isinstance(outer, cst.Call) and isinstance(outer.func, cst.Name) and outer.func.value == "next"


def _parts_of_its_own(name: str, parts: tuple[str, ...], owners: set[str | None], anatomy: Anatomy) -> frozenset[str]:
    """Parts that a class sets for itself, under another path of the checkpoint than those that are merged."""
    merged = {owner for owner in owners if owner is not None}
    family = {name, *anatomy.subclasses(name), *(cls for cls in anatomy.members if name in anatomy.subclasses(cls))}
    theirs, ours = _holding(merged, anatomy), _holding({name}, anatomy)
    is_anywhere = any(member.is_list or member.name == "*" for member in theirs)  # the last name of a path is a number
    if family & merged or is_anywhere or {m.name for m in theirs} & {m.name for m in ours}:
        return frozenset()
    return frozenset(part for cls in family for part in parts if part in anatomy.members[cls])


def _holding(classes: set[str], anatomy: Anatomy) -> list[Member]:
    """The members that classes, or those derived from them, are held as: the last but one name of a parameter."""
    kinds = {kind for cls in classes for kind in (cls, *anatomy.subclasses(cls))}
    return [member for kind in kinds for _, member in anatomy.holders.get(kind, ())]


def _name_of(node: Node) -> str | None:
    """The attribute that is read or set, or a string that may name one."""
    if node.__class__ is cst.Attribute:
        return node.attr.value
    return text_of_constant(node) if node.__class__ is cst.SimpleString else None

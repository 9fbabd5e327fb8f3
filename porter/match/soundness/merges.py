"""Merged parameters: a merge maps names of a checkpoint, so it holds for a whole module or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import libcst as cst

from porter.anatomy import Anatomy
from porter.match.found import Application
from porter.rulebook import LoadedRule
from porter.tree import Node, Tree
from porter.tree.functions import methods
from porter.tree.values import text_of_constant


def broken_merges(
    rule: LoadedRule, applications: Sequence[Application], tree: Tree, anatomy: Anatomy, converted: frozenset[str]
) -> Iterator[tuple[str, Node | None]]:
    """Why merges of the rule do not hold, and at which code.

    Every class with the parts of a merge must take it, and no other code may use them. `converted` are parameters that
    the source library makes out of other tensors.
    """
    owners = {hit.owner for application in applications for hit in application.hits}
    roots: frozenset[Node] = frozenset().union(*(application.roots for application in applications))
    for _, parts, _ in rule.declared.merges:
        made = [part for part in parts if any(part in name.split(".") for name in converted)]
        if made:
            yield f"the source library makes `{made[0]}` out of other tensors of a checkpoint", None
        stray = _stray_part(parts, owners, roots, tree, anatomy)
        if stray is not None:
            yield f"`{tree.code(stray)}` is used outside what the rule rewrites", stray


def _stray_part(
    parts: tuple[str, ...], owners: set[str | None], roots: frozenset[Node], tree: Tree, anatomy: Anatomy
) -> Node | None:
    """Code that reads or sets one of the parts, by attribute or by a string, and is not rewritten."""
    definitions: list[Node] = list(tree.functions.values())
    for name, cls in tree.classes.items():
        unreached = name not in anatomy.roles and name not in owners
        if unreached and any(part in anatomy.members[name] for part in parts):
            continue  # a class outside the causal model that has such parts of its own
        definitions += methods(cls).values()
    for definition in definitions:
        for node in tree.nodes(definition):
            if _name_of(node) in parts and not tree.within(node, roots):
                return node
    return None


def _name_of(node: Node) -> str | None:
    """The attribute that is read or set, or a string that may name one."""
    if node.__class__ is cst.Attribute:
        return node.attr.value
    return text_of_constant(node) if node.__class__ is cst.SimpleString else None

"""Attributes of the changed class: those an edit takes away must have no other use, those it adds must be free."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from porter.match.soundness.check import Case, Found
from porter.tree import Node
from porter.tree.functions import statements
from porter.tree.names import self_attribute, stored_names


def removed_attribute(case: Case) -> Found:
    """An attribute that the edit takes away is used or set again elsewhere in the class, or in one of the model's that
    is derived from it."""
    hit, tree = case.hit, case.tree
    before, after = case.set_attributes
    removed = before - after
    if not removed or hit.owner is None:
        return None
    derived = (cls for cls in case.anatomy.subclasses(hit.owner) if cls in case.anatomy.reached)
    for cls in (hit.owner, *derived):
        for node in tree.nodes(tree.classes[cls]):
            if self_attribute(node) in removed and not tree.within(node, case.application.roots):
                return f"`{tree.code(node)}` is used outside what the rule rewrites", node
    reached = frozenset(tree.classes[cls] for cls in case.anatomy.reached)
    for name in sorted(removed):  # `self.mlp.act_fn = ...`, set from where the module is held
        for store in tree.attribute_stores.get(name, ()):
            if self_attribute(store) is None and tree.within(store, reached):
                return f"`{tree.code(store)}` sets what the rule takes away", store
    return None


def taken_attribute(case: Case) -> Found:
    """An attribute that the edit adds is there already."""
    hit, tree = case.hit, case.tree
    before, after = case.set_attributes
    new = after - before
    if hit.owner is None or not new:
        return None
    for cls in (hit.owner, *case.anatomy.subclasses(hit.owner)):
        reason = f"`{cls}` has a name of its own that this rewrite needs"
        for node in tree.nodes(tree.classes[cls]):
            if self_attribute(node) in new:
                return reason, node
        for statement in statements(tree.classes[cls].body):
            if set(_bound_by(statement)) & new:
                return reason, statement
    return None


def _bound_by(statement: Node) -> Iterator[str]:
    """Names that a statement of a class body defines."""
    if isinstance(statement, cst.FunctionDef):
        yield statement.name.value
    elif isinstance(statement, (cst.Assign, cst.AnnAssign)):
        yield from stored_names(statement)

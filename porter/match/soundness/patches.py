"""What a rule takes for granted is changed from elsewhere: a class it edits, a function or table that it relies on."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from porter.match.definitions import parse_beside
from porter.match.soundness.check import Case, Found
from porter.tree import Node, Tree
from porter.tree.names import dotted
from porter.tree.patches import ANYTHING, Patch


def patched(case: Case) -> Found:
    """The module sets an attribute of the edited class, or of what the rule relies on, or may set any."""
    hit, tree, anatomy = case.hit, case.tree, case.anatomy
    family = {hit.owner, *anatomy.subclasses(hit.owner), *anatomy.bases[hit.owner]} if hit.owner else set()
    methods = {other.match.function.name.value for other in case.application.hits if other.owner}
    relied = case.application.rule.relied if tree.patches else frozenset()
    for name in sorted(methods & tree.patches_of_self.keys()):
        node = tree.patches_of_self[name].node
        return f"`{tree.statement_code(node)}` takes the place of a method that the rule changes", node
    for patch in tree.patches_elsewhere:
        does = None
        if patch.root == ANYTHING:
            does = "may change anything that the rule relies on"
        elif patch.root in family and patch.root in tree.classes:
            does = f"changes `{patch.root}` from outside of its definition"
        elif patch.root is None and patch.changed in methods:
            does = "takes the place of a method that the rule changes"
        elif _changes(patch, relied, tree):
            does = "changes what the rule relies on"
        if does is not None:
            return f"`{tree.statement_code(patch.node)}` {does}", patch.node
    return None


def patched_beside(case: Case) -> Found:
    """The same in a file beside, which runs before the model does."""
    if case.hit is not case.application.hits[0]:
        return None  # it hangs on the rule, not on the hit
    relied = case.application.rule.relied if case.beside else frozenset()
    for companion in case.beside:
        if not any(name in companion.text for name in relied):
            continue
        beside = parse_beside(companion.text, companion.name, companion.path)
        if not isinstance(beside, Tree):
            continue
        for patch in beside.patches:
            if _changes(patch, relied, beside):
                place = f"{companion.name}:{beside.line(patch.node)}"
                return f"`{beside.statement_code(patch.node)}` ({place}) changes what the rule relies on", None
    return None


def table_handed_on(case: Case) -> Found:
    """A table that the rule relies on is given to code that may change it, or to another name."""
    tree = case.tree
    if case.hit is not case.application.hits[0]:
        return None
    tables = {item.name for item in case.application.rule.imports.values() if item.name and item.name.isupper()}
    bound = {item.bound for items in tree.alternatives.values() for item in items if item.name in tables}
    for node in tree.nodes(tree.module) if bound else ():
        if node.__class__ is cst.Name and node.value in bound and not _is_looked_up(node, tree):
            return f"`{node.value}`, which the rule relies on, is handed on here", node
    return None


def bound_again(case: Case) -> Found:
    """The name of a class of the model means another class, or may."""
    tree, anatomy, owner = case.tree, case.anatomy, case.hit.owner
    everyone = case.application.rule.is_of_module
    for cls in anatomy.reached if everyone else (owner, *anatomy.subclasses(owner)) if owner else ():
        if tree.module_bindings[cls] != 1:
            return f"the name `{cls}` is bound more than once", tree.classes[cls]
    return None


def _changes(patch: Patch, relied: frozenset[str], tree: Tree) -> bool:
    return patch.root != "self" and any(name in relied for name in _changed(patch, tree))


def _changed(patch: Patch, tree: Tree) -> Iterator[str]:
    """Names that a patch may be of: the last one; of what a method or `__dict__` belongs to, the one before it."""
    full = tree.qualified(patch.root) if patch.root else None
    names = [*(full or patch.root or "").split("."), *patch.names]
    while len(names) > 1 and (names[-1] == "forward" or names[-1].startswith("__")):
        yield names.pop()
    yield names[-1]


def _is_looked_up(node: Node, tree: Tree) -> bool:
    parent = tree.parents[node]
    if isinstance(parent, cst.ComparisonTarget):
        return True
    if isinstance(parent, (cst.Attribute, cst.Subscript)):
        return parent.value is node
    return isinstance(parent, cst.Comparison) or dotted(node) is None

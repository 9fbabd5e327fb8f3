"""Values: what must vary does, and what an edit keeps for itself is used by no code that stays."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import libcst as cst

from porter.match.found import Hit
from porter.match.soundness.check import Case, Found
from porter.match.soundness.passing import looked_into, made_elsewhere
from porter.tree import Node, Tree
from porter.tree.names import is_variable


def constant_value(case: Case) -> Found:
    """A metavariable that stands for what the model computes is bound to something that does not vary."""
    for name in case.hit.match.pattern.varying:
        bound = case.hit.match.bindings.metas.get(name)
        if bound is None:
            continue
        names = (node.value for node in case.tree.nodes(bound) if isinstance(node, cst.Name) and is_variable(node))
        if all(name == "self" for name in names):
            return f"`{case.tree.code(bound)}` does not depend on the input", bound
    return None


def stray_use(case: Case) -> Found:
    """A private value is used by code that stays."""
    return used_by_what_stays(case.hit, case.tree)


def used_by_what_stays(hit: Hit, tree: Tree) -> Found:
    """Where code that an edit leaves uses a value that the edit keeps for itself, or may only return."""
    for node in _uses_by_what_stays(hit, tree, hit.match.pattern.hidden.union(hit.edit.private)):
        return f"`{tree.code(node)}` is used here, in a layout or place the rewrite changes", node
    for node in _uses_by_what_stays(hit, tree, hit.edit.returned):
        if not _is_returned(node, tree):
            return f"`{tree.code(node)}` is used here, and the rewrite makes another kind of value of it", node
    return None


def _uses_by_what_stays(hit: Hit, tree: Tree, listed: Collection[str]) -> Iterator[Node]:
    """Where code that an edit leaves reads what the pattern binds to one of the listed locals."""
    kept = {value for (name, _), value in hit.match.bindings.locals.items() if name in listed}
    if not kept:
        return
    names, loop = {name for name, _ in kept}, _loop_around(hit, tree)
    stays = frozenset(node for rest in hit.match.bindings.rests for node in rest)
    for node in tree.nodes(hit.match.function):
        if not isinstance(node, cst.Name) or node.value not in names:
            continue
        if tree.within(node, hit.roots) and not tree.within(node, stays):
            continue
        version = tree.versions.get(node, 0)
        is_read = tree.is_load(node)
        if isinstance(tree.parents[node], cst.AugAssign) and not is_read:
            version, is_read = version - 1, True  # read before it is set
        goes_round = loop is not None and tree.within(node, frozenset({loop}))
        if is_read and ((node.value, version) in kept or goes_round):
            yield node


def _is_returned(node: Node, tree: Tree) -> bool:
    """Whether a value is returned as it is, by itself or as one of several."""
    parent = tree.parents[node]
    if isinstance(parent, cst.Element):
        parent = tree.parents[tree.parents[parent]]
    return isinstance(parent, cst.Return)


def early_use(case: Case) -> Found:
    """A parameter that the edit binds anew is read before it, when it is not yet what the edit makes of it."""
    hit, tree = case.hit, case.tree
    bound = (hit.match.bindings.metas.get(name) for name in hit.match.pattern.arguments)
    names = {node.value for node in bound if isinstance(node, cst.Name)}
    nodes = [node for node in tree.nodes(hit.match.function) if isinstance(node, cst.Name) and node.value in names]
    anew = {node.value for node in nodes if node in tree.stored and tree.within(node, hit.roots)}
    for node in nodes:
        is_early = node.value in anew and tree.is_load(node) and tree.versions.get(node, 0) == 0
        if is_early and not tree.within(node, hit.roots):
            return f"`{node.value}` is used before the edit that makes it", node
    return None


def _loop_around(hit: Hit, tree: Tree) -> Node | None:
    """The outermost loop of the function that the hit stands in: its next round may read what this one left."""
    found: Node | None = None
    here: Node | None = next(iter(hit.roots))
    while here is not None and here is not hit.match.function:
        found = here if isinstance(here, (cst.For, cst.While)) and here not in hit.roots else found
        here = tree.parents.get(here)
    return found


def opened_value(case: Case) -> Found:
    """A value that means something else after the edit is read by code that stays."""
    hit, tree = case.hit, case.tree
    if not hit.is_carried:
        return None
    function = hit.match.function
    sources = case.application.makers[function]
    if hit.match.expressions[:1] != sources[:1]:
        return None  # it hangs on the function: the first hit in it has asked
    gone = _gone(case)
    foreign = made_elsewhere(function, sources, case.application.rule.carried, tree, gone)
    if foreign is not None:
        return f"`{tree.code(foreign)}` is not made by what the rule replaces", foreign
    node = looked_into(function, sources, tree, gone)
    return (f"`{tree.code(node)}` looks into a value whose meaning the rewrite changes", node) if node else None


def _gone(case: Case) -> frozenset[Node]:
    """The code of the function that other edits of the application replace, without what they keep of it."""
    found: set[Node] = set()
    for hit in case.application.hits:
        if hit.match.function is case.hit.match.function and not hit.is_carried:
            found.update(node for root in hit.roots for node in case.tree.nodes(root))
            found.difference_update(node for hole in hit.holes for node in case.tree.nodes(hole))
    return frozenset(found)

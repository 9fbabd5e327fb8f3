"""Values: what must vary does, and what an edit keeps for itself is used by no code that stays."""

from __future__ import annotations

import libcst as cst

from porter.match.soundness.check import Case, Found
from porter.match.soundness.passing import looked_into, made_elsewhere
from porter.tree.names import is_variable


def constant_value(case: Case) -> Found:
    """A metavariable that stands for what the model computes is bound to something that does not vary."""
    for name in case.hit.edit.varying:
        bound = case.hit.match.bindings.metas.get(name)
        if bound is None:
            continue
        names = (node.value for node in case.tree.nodes(bound) if isinstance(node, cst.Name) and is_variable(node))
        if all(name == "self" for name in names):
            return f"`{case.tree.code(bound)}` does not depend on the input", bound
    return None


def stray_use(case: Case) -> Found:
    """A private value is used by code that stays."""
    hit, tree = case.hit, case.tree
    private = {value for (name, _), value in hit.match.bindings.locals.items() if name in hit.edit.private}
    for node in tree.nodes(hit.match.function) if private else ():
        if isinstance(node, cst.Name) and tree.is_load(node):
            is_private = (node.value, tree.versions.get(node, 0)) in private
            if is_private and not tree.within(node, hit.roots):
                return f"`{node.value}` is used here, in a layout or place the rewrite changes", node
    return None


def opened_value(case: Case) -> Found:
    """A value that means something else after the edit is read by code that stays."""
    hit, tree = case.hit, case.tree
    if not hit.edit.opaque:
        return None
    function = hit.match.function
    sources = case.application.opaque[function]
    if hit.match.expressions[:1] != sources[:1]:
        return None  # it hangs on the function: the first hit in it has asked
    foreign = made_elsewhere(function, sources, case.application.rule.declared.carried, tree)
    if foreign is not None:
        return f"`{tree.code(foreign)}` is not made by what the rule replaces", foreign
    node = looked_into(function, sources, tree)
    return (f"`{tree.code(node)}` looks into a value whose meaning the rewrite changes", node) if node else None

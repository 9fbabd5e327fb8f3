"""The function as others see it: its parameters, what it returns, what decorates and what derives from it."""

from __future__ import annotations

import libcst as cst

from porter.match.decorators import HARMLESS_DECORATORS
from porter.match.found import Hit
from porter.match.soundness.check import Case, Found
from porter.tree.functions import body_of, default_values, methods, positional
from porter.tree.names import decorator_name


def added_parameters(hit: Hit) -> list[cst.Param]:
    """Parameters that `after` has and `before` has not: they join the function's signature."""
    pattern = hit.match.pattern
    if pattern.after is None or hit.match.expressions:
        return []
    known = {parameter.name.value for parameter in positional(pattern.before)}
    return [parameter for parameter in positional(pattern.after) if parameter.name.value not in known]


def decorated(case: Case) -> Found:
    """A decorator may look at a signature that the edit changes."""
    for decorator in case.hit.match.function.decorators if added_parameters(case.hit) else ():
        if decorator_name(decorator) not in HARMLESS_DECORATORS:
            text = case.tree.code(decorator.decorator)
            return f"`@{text}` wraps the function, whose parameters would change", decorator.decorator
    return None


def other_return(case: Case) -> Found:
    """Where the edit changes what is returned, it must change every return."""
    hit, tree = case.hit, case.tree
    returns = (isinstance(statement, cst.Return) for statement in body_of(hit.match.pattern.before))
    if hit.edit.unit != "statements" or not any(returns):
        return None
    for node in tree.nodes(hit.match.function):
        if isinstance(node, cst.Return) and not tree.within(node, hit.roots):
            return "the function also returns here, where the rewrite would not change what it returns", node
    return None


def derived_class(case: Case) -> Found:
    """A class derived from one whose forward changes its parameters calls or replaces that forward."""
    hit, tree = case.hit, case.tree
    added = added_parameters(hit)
    after = hit.match.pattern.after
    if hit.owner is None or not added or after is None:
        return None
    owners = {other.owner for other in case.application.hits}
    defaults = default_values(after)
    needs_default = any(parameter.name.value not in defaults for parameter in added)
    for cls in case.anatomy.subclasses(hit.owner):
        if cls not in owners and (needs_default or "forward" in methods(tree.classes[cls])):
            return f"`{cls}` derives from `{hit.owner}`, whose parameters would change", tree.classes[cls]
    return None

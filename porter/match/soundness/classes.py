"""The edited class is what its text says: its methods defined once, its attributes set where the rule sees it."""

from __future__ import annotations

import libcst as cst

from porter.match.decorators import DISPATCHED_BY, DISPATCHING_DECORATORS, is_of_libraries
from porter.match.soundness.check import Case, Found
from porter.tree import Node
from porter.tree.fields import children
from porter.tree.functions import methods, statements
from porter.tree.names import decorator_name, self_attribute, stored_names


def remade_class(case: Case) -> Found:
    """Something makes another class of it: a decorator of the file's own, a metaclass."""
    hit, tree = case.hit, case.tree
    if hit.owner is None:
        return None
    cls = tree.classes[hit.owner]
    for decorator in cls.decorators:
        if not is_of_libraries(decorator, tree):
            return f"`@{tree.code(decorator.decorator)}` may make another class of `{hit.owner}`", decorator.decorator
    for keyword in cls.keywords:
        return f"`{tree.code(keyword)}` may make another class of `{hit.owner}`", keyword
    return None


def dispatched(case: Case) -> Found:
    """A decorator that sends calls past the class's own forward goes with that; what else it gives is used."""
    hit, tree = case.hit, case.tree
    cls = tree.classes[hit.owner] if hit.owner is not None else None
    found = (one for one in (cls.decorators if cls else ()) if decorator_name(one) in DISPATCHING_DECORATORS)
    decorator = next(found, None)
    if cls is None or decorator is None or hit.owner is None:
        return None
    text = tree.code(decorator.decorator)
    if not any(hit.owner == one.owner and one.match.function.name.value == "forward" for one in case.application.hits):
        return f"`@{text}` sends calls past `{hit.owner}.forward`", decorator.decorator
    family = [tree.classes[name] for name in (hit.owner, *case.anatomy.subclasses(hit.owner))]
    nodes = [node for one in family for node in tree.nodes(one)]
    own = {self_attribute(node) for node in nodes if node in tree.stored} | set(methods(cls))
    for node in nodes:
        if self_attribute(node) in DISPATCHED_BY - own and not tree.within(node, case.application.roots):
            return f"`{tree.code(node)}` is what `@{text}` gives the class", node
    return None


def defined_again(case: Case) -> Found:
    """The edited method is bound again in the class body, or under a condition."""
    hit, tree = case.hit, case.tree
    if hit.owner is None:
        return None
    function = hit.match.function
    for statement in statements(tree.classes[hit.owner].body):
        if statement is not function and function.name.value in _bound(statement):
            return f"`{hit.owner}.{function.name.value}` is bound here too", statement
    return None


def wrapped(case: Case) -> Found:
    """A decorator of the file's own may look at what the edit changes."""
    for decorator in case.hit.match.function.decorators:
        if not is_of_libraries(decorator, case.tree):
            text = case.tree.code(decorator.decorator)
            return f"`@{text}` wraps the function, and may look at what the rule changes", decorator.decorator
    return None


def set_again(case: Case) -> Found:
    """An attribute that the rule sees set, and keeps, is set elsewhere in the class or one derived from it."""
    hit, tree = case.hit, case.tree
    before, after = case.set_attributes
    kept = before & after
    if not kept or hit.owner is None:
        return None
    for cls in (hit.owner, *case.anatomy.subclasses(hit.owner)):
        for store in tree.nodes(tree.classes[cls]):
            is_kept = store.__class__ is cst.Attribute and store in tree.stored and self_attribute(store) in kept
            if is_kept and not tree.within(store, case.application.roots):
                return f"`{tree.code(store)}` is set here too", store
    return None


def exchanged_member(case: Case) -> Found:
    """A member whose class the rule relies on is set elsewhere than where its class builds it."""
    hit, tree = case.hit, case.tree
    required = case.application.rule.declared.requires
    names = {name for attribute, name in case.application.attributes if attribute in required}
    if not names or case.hit is not case.application.hits[0] or hit.owner is None:
        return None
    builders = {init for cls in case.anatomy.reached if (init := _init_of(tree.classes[cls])) is not None}
    reached = frozenset(tree.classes[cls] for cls in case.anatomy.reached) | frozenset(tree.functions.values())
    for name in sorted(names):
        for store in tree.attribute_stores.get(name, ()):
            if tree.within(store, reached) and not (self_attribute(store) and tree.within(store, builders)):
                return f"`{tree.code(store)}` sets a module that the rule relies on", store
    return None


def _init_of(cls: cst.ClassDef) -> Node | None:
    bodies = (item for item in statements(cls.body) if isinstance(item, cst.FunctionDef))
    return next((item for item in bodies if item.name.value == "__init__"), None)


def _bound(statement: Node) -> set[str]:
    """Names that a statement of a class body binds, at any depth outside of functions."""
    if isinstance(statement, (cst.FunctionDef, cst.ClassDef)):
        return {statement.name.value}
    found = stored_names(statement)
    pending = [statement]
    while pending:
        node = pending.pop()
        if isinstance(node, (cst.FunctionDef, cst.ClassDef)):
            found.add(node.name.value)
        else:
            pending += [child for child in children(node) if not isinstance(child, cst.Lambda)]
    return found

"""Names in code: dotted chains, attributes of `self`, and which nodes a statement or expression binds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import libcst as cst

from porter.tree.fields import Node, walk

CONSTANTS = frozenset({"True", "False", "None"})
BINDERS = frozenset(
    {
        *(cst.AssignTarget, cst.AnnAssign, cst.AugAssign, cst.NamedExpr, cst.For, cst.CompFor, cst.Del),
        *(cst.WithItem, cst.ExceptHandler, cst.ExceptStarHandler, cst.MatchAs, cst.MatchStar, cst.MatchMapping),
    }
)


def is_variable(node: Node) -> bool:
    """A `Name` that is not `True`, `False` or `None`, which LibCST has as names too."""
    return node.__class__ is cst.Name and node.value not in CONSTANTS


def dotted(node: Node) -> str | None:
    """`a.b.c` for a chain of attributes on a name, else None."""
    parts: list[str] = []
    while node.__class__ is cst.Attribute:
        parts.append(node.attr.value)
        node = node.value
    return ".".join([node.value, *reversed(parts)]) if is_variable(node) else None  # type: ignore[attr-defined]


def last_name(node: Node) -> str | None:
    """`c` for `a.b.c`."""
    name = dotted(node)
    return name.split(".")[-1] if name else None


def word_of(node: Node) -> str | None:
    """What tells a node by its text: a name, an attribute, a keyword (`dim=`), an operator of two (`Add of two`)."""
    if node.__class__ is cst.Name:
        return node.value
    if node.__class__ is cst.Attribute:
        return node.attr.value
    if node.__class__ is cst.Arg and node.keyword is not None:
        return f"{node.keyword.value}="
    if node.__class__ is cst.BinaryOperation:
        return f"{type(node.operator).__name__} of two"
    return None


def decorator_name(decorator: cst.Decorator) -> str:
    """The last name of what decorates: `no_grad` for `@torch.no_grad()`."""
    called = decorator.decorator
    return last_name(called.func if isinstance(called, cst.Call) else called) or ""


def self_attribute(node: Node | None) -> str | None:
    """The attribute's name for `self.name`, else None."""
    if isinstance(node, cst.Attribute) and isinstance(node.value, cst.Name) and node.value.value == "self":
        return node.attr.value
    return None


def targets(node: Node) -> Iterator[Node]:
    """What this one node binds: names, and the attributes and subscripts it sets or deletes."""
    if isinstance(node, (cst.AssignTarget, cst.AnnAssign, cst.AugAssign, cst.NamedExpr, cst.For, cst.CompFor, cst.Del)):
        yield from _leaves(node.target)
    elif isinstance(node, (cst.WithItem, cst.ExceptHandler, cst.ExceptStarHandler)):
        bound = node.asname if isinstance(node, cst.WithItem) else node.name
        if bound is not None:
            yield from _leaves(bound.name)
    elif isinstance(node, (cst.MatchAs, cst.MatchStar)) and node.name is not None:
        yield node.name
    elif isinstance(node, cst.MatchMapping) and node.rest is not None:
        yield node.rest


def stored_names(root: Node) -> set[str]:
    """Names that are assigned below a node."""
    return {leaf.value for leaf in stored_nodes(walk(root)) if isinstance(leaf, cst.Name)}


def read_names(root: Node) -> set[str]:
    """Names below a node that are not only bound there."""
    stored = set(stored_nodes(walk(root)))
    return {n.value for n in walk(root) if isinstance(n, cst.Name) and is_variable(n) and n not in stored}


def stored_nodes(nodes: Iterable[Node]) -> Iterator[Node]:
    """What any of the nodes binds, sets or deletes."""
    return (leaf for node in nodes if node.__class__ in BINDERS for leaf in targets(node))


def _leaves(target: Node) -> Iterator[Node]:
    if isinstance(target, (cst.Tuple, cst.List)):
        for element in target.elements:
            yield from _leaves(element.value)
    elif isinstance(target, cst.StarredElement):
        yield from _leaves(target.value)
    else:
        yield target

"""Code inside an f-string: before Python 3.12 it may hold no backslash, no comment and not the string's own quotes."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from porter.match.soundness.check import Case, Found
from porter.tree import Node, Tree
from porter.tree.fields import walk


def unfit_for_string(case: Case) -> Found:
    """New code, or what it takes from the source, would stand in an f-string that cannot hold it."""
    pattern, bindings, tree = case.hit.match.pattern, case.hit.match.bindings, case.tree
    for node in case.hit.match.expressions:
        if pattern.after is not None and enclosing_string(node, tree) is not None:
            parts = [pattern.after.body, *bindings.metas.values(), *(item for rest in bindings.rests for item in rest)]
            if not all(map(_fits, parts)):
                return f"`{tree.code(node)}` stands in an f-string, which cannot hold the new code", node
    for name in _names_in_strings(pattern.after) if pattern.after is not None else ():
        bound = bindings.metas.get(name)
        if bound is not None and not _fits(bound):
            return f"`{tree.code(bound)}` would stand in an f-string, which cannot hold it", bound
    return None


def enclosing_string(node: Node, tree: Tree) -> cst.FormattedString | None:
    """The f-string that an expression stands in."""
    here: Node | None = node
    while here is not None and not isinstance(here, cst.FormattedString):
        here = tree.parents.get(here)
    return here


def _names_in_strings(function: Node) -> Iterator[str]:
    for string in walk(function):
        if isinstance(string, cst.FormattedString):
            yield from (node.value for node in walk(string) if isinstance(node, cst.Name))


def _fits(part: Node) -> bool:
    """Whether a piece of code can be written with either kind of quotes, on one line."""
    for node in walk(part):
        if isinstance(node, cst.FormattedString):
            return False
        if isinstance(node, cst.SimpleString) and ("\\" in node.value or ('"' in node.value and "'" in node.value)):
            return False
    return not any(isinstance(node, cst.Comment) for node in _every(part))


def _every(node: Node) -> Iterator[Node]:
    pending = [node]
    while pending:
        node = pending.pop()
        yield node
        pending += node.children

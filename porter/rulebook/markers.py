"""What a pattern leaves open: `...` among statements, among arguments, as a value; `maybe`."""

from __future__ import annotations

import libcst as cst

from porter.tree import Node

MAYBE = "maybe"  # of statements: see `porter.rulebook.optional`


def is_optional(argument: cst.Arg) -> bool:
    """`keyword=maybe` in a call of a pattern: it may be given or not."""
    is_maybe = isinstance(argument.value, cst.Name) and argument.value.value == MAYBE
    return is_maybe and argument.keyword is not None


def is_ellipsis(node: Node | None) -> bool:
    """An expression `...`."""
    return isinstance(node, cst.Ellipsis)


def is_gap(statement: Node) -> bool:
    """A statement `...`."""
    return isinstance(statement, cst.Expr) and is_ellipsis(statement.value)


def is_rest(argument: cst.Arg) -> bool:
    """`**...` in a call of a pattern: any remaining arguments."""
    return argument.star == "**" and is_ellipsis(argument.value)


def is_open(argument: cst.Arg) -> bool:
    """`...` or `**...` in a call of a pattern: what it stands for is written again in its place."""
    return is_ellipsis(argument.value) and argument.keyword is None

"""Where an expression that is put in another's place needs parentheses to stay what it is."""

from __future__ import annotations

from typing import TypeVar

import libcst as cst

from porter.tree import Node

Expression = TypeVar("Expression", bound=cst.BaseExpression)

_OPEN = (cst.Tuple, cst.GeneratorExp)  # their own parentheses are theirs
_CLOSED = (
    *(cst.Name, cst.Attribute, cst.Call, cst.Subscript, cst.BaseNumber, cst.SimpleString, cst.Ellipsis),
    *(cst.List, cst.Set, cst.Dict, cst.ListComp, cst.SetComp, cst.DictComp, cst.FormattedString),
)
_SAFE = (cst.Arg, cst.Assign, cst.AssignTarget, cst.Return, cst.Expr, cst.Element)
_STATEMENTS = (cst.Assign, cst.Return, cst.Expr)


def bare(node: Expression) -> Expression:
    """The expression without the parentheses around it."""
    return node if isinstance(node, _OPEN) or not node.lpar else node.with_changes(lpar=(), rpar=())


def enclosed(node: Expression) -> Expression:
    """The expression in parentheses."""
    return node.with_changes(lpar=[cst.LeftParen(), *node.lpar], rpar=[*node.rpar, cst.RightParen()])


def fitted(node: Expression, parent: Node | None, code: str) -> Expression:
    """The expression as it may stand below `parent`; `code` is how it is written, without parentheses."""
    return enclosed(node) if _needs_parentheses(node, parent, code) else node


def _needs_parentheses(node: cst.BaseExpression, parent: Node | None, code: str) -> bool:
    if node.lpar:
        return False
    if isinstance(parent, cst.FormattedStringExpression) and code.startswith("{"):
        return True  # `{{` is a brace
    if isinstance(parent, cst.Attribute) and isinstance(node, cst.Integer):
        return True  # `1.a` is no attribute
    if isinstance(node, cst.Tuple):
        return not isinstance(parent, _STATEMENTS)
    if isinstance(node, (cst.GeneratorExp, cst.NamedExpr, cst.Yield)):
        return True
    if not isinstance(parent, cst.Arg) and not _stands_alone(code):
        return True
    return not isinstance(node, _CLOSED) and not isinstance(parent, _SAFE)


def _stands_alone(code: str) -> bool:
    """Whether an expression over several lines is one without brackets around it."""
    if "\n" not in code:
        return True
    try:
        cst.parse_expression(code)
    except cst.ParserSyntaxError:
        return False
    return True

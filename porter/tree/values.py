"""Literals as values: two spellings of one number or string are one value, `True` is not 1."""

from __future__ import annotations

from typing import Any

import libcst as cst

from porter.tree.fields import Node
from porter.tree.names import CONSTANTS


class NotLiteral(ValueError):
    """The node is no literal: `node` is the part that is not."""

    def __init__(self, node: Node) -> None:
        super().__init__(type(node).__name__)
        self.node = node


def is_constant(node: Node) -> bool:
    """A number, a string without parts to fill in, `True`, `False`, `None` or `...`."""
    if isinstance(node, cst.Name):
        return node.value in CONSTANTS
    if isinstance(node, cst.ConcatenatedString):
        return is_constant(node.left) and is_constant(node.right)
    return isinstance(node, (cst.BaseNumber, cst.SimpleString, cst.Ellipsis))


def constant(node: Node) -> Any:
    """The value of a constant node."""
    if isinstance(node, cst.Name):
        return {"True": True, "False": False, "None": None}[node.value]
    if isinstance(node, cst.SimpleString) and "\\" not in node.value and node.prefix in ("", "r", "u"):
        return node.raw_value  # what evaluating, which compiles it, would give
    if isinstance(node, (cst.BaseNumber, cst.SimpleString, cst.ConcatenatedString)):
        return node.evaluated_value  # type: ignore[union-attr]
    assert isinstance(node, cst.Ellipsis)
    return ...


def literal(node: Node) -> Any:
    """The value of constants, signed numbers, and tuples, lists, sets and dicts of them. Raises `NotLiteral`."""
    if is_constant(node):
        return constant(node)
    if isinstance(node, cst.UnaryOperation) and isinstance(node.operator, (cst.Minus, cst.Plus)):
        value = literal(node.expression)
        if isinstance(value, (int, float, complex)) and not isinstance(value, bool):
            return -value if isinstance(node.operator, cst.Minus) else value
    if isinstance(node, (cst.Tuple, cst.List, cst.Set)) and not any(
        isinstance(element, cst.StarredElement) for element in node.elements
    ):
        kind = {cst.Tuple: tuple, cst.List: list, cst.Set: set}[type(node)]
        return kind(literal(element.value) for element in node.elements)
    if isinstance(node, cst.Dict) and all(isinstance(element, cst.DictElement) for element in node.elements):
        pairs = [element for element in node.elements if isinstance(element, cst.DictElement)]
        return {literal(pair.key): literal(pair.value) for pair in pairs}
    raise NotLiteral(node)


def text_of_constant(node: Node) -> str | None:
    """The string that a node is, else None."""
    if not isinstance(node, (cst.SimpleString, cst.ConcatenatedString)) or not is_constant(node):
        return None
    value = constant(node)
    return value if isinstance(value, str) else None

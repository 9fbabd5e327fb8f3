"""Whether two pieces of one source are the same code: equal but for layout, every name being the same value."""

from __future__ import annotations

from collections.abc import Mapping

import libcst as cst

from porter.tree import Node
from porter.tree.fields import fields, texts
from porter.tree.names import is_variable
from porter.tree.values import constant, is_constant


def same_code(first: Node, second: Node, versions: Mapping[Node, int]) -> bool:
    """Compares the code of both; a name is the same where it has the same version."""
    if first is second:
        return True
    if first.__class__ is cst.Name and second.__class__ is cst.Name and first.value != second.value:
        return False
    if is_constant(first) and is_constant(second):
        return same_constant(first, second)
    if type(first) is not type(second) or texts(first) != texts(second):
        return False
    if isinstance(first, cst.Name) and is_variable(first):
        return first.value == second.value and versions.get(first, 0) == versions.get(second, 0)  # type: ignore[attr-defined]
    return all(_same_value(getattr(first, name), getattr(second, name), versions) for name in fields(first.__class__))


def same_constant(first: Node, second: Node) -> bool:
    """Equal values of one type: `1` is neither `1.0` nor `True`."""
    one, other = constant(first), constant(second)
    return type(one) is type(other) and one == other


def _same_value(one: object, other: object, versions: Mapping[Node, int]) -> bool:
    if isinstance(one, Node) and isinstance(other, Node):
        return same_code(one, other, versions)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(_same_value(a, b, versions) for a, b in zip(one, other, strict=True))
    return one == other

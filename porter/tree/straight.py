"""A function that computes one value in a straight line: what each local is, and what is returned.

Two such functions are alike where their values are, however their steps are named and in whatever order they stand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import libcst as cst

from porter.tree.fields import Function, Node, walk
from porter.tree.functions import body_of
from porter.tree.names import is_variable, stored_nodes

# What makes the order of evaluation matter, or names of its own.
_CROOKED = (cst.NamedExpr, cst.Lambda, cst.ListComp, cst.SetComp, cst.DictComp, cst.GeneratorExp, cst.Yield, cst.Await)

Key = tuple[str, int]  # a local and its version


@dataclass(frozen=True)
class Part:
    """Element `index` of the `count` that a value is unpacked into."""

    whole: cst.BaseExpression
    index: int
    count: int


@dataclass(frozen=True)
class Straight:
    """What each local of a function is, and its value."""

    definitions: dict[Key, cst.BaseExpression | Part]
    value: cst.BaseExpression

    def resolved(self, node: Node, versions: Mapping[Node, int]) -> Node:
        """What a local stands for, as far as it is an expression; any other node as it is."""
        while is_variable(node):
            definition = self.definitions.get((node.value, versions.get(node, 0)))  # type: ignore[attr-defined]
            if not isinstance(definition, cst.BaseExpression):
                return node
            node = definition
        return node

    def part(self, node: Node, versions: Mapping[Node, int]) -> Part | None:
        """The definition of a local that is one of several."""
        key = (node.value, versions.get(node, 0)) if isinstance(node, cst.Name) else None
        found = self.definitions.get(key) if key else None
        return found if isinstance(found, Part) else None


def straight_line(function: Function, versions: dict[Node, int]) -> Straight | None:
    """None for a function with branches, loops, effects, or a step that its value does not need."""
    *steps, last = body_of(function) or [cst.Pass()]
    if not isinstance(last, cst.Return) or last.value is None:
        return None
    definitions: dict[Key, cst.BaseExpression | Part] = {}
    for step in steps:
        if not isinstance(step, (cst.Assign, cst.AnnAssign)) or step.value is None:
            return None
        for target in [step.target] if isinstance(step, cst.AnnAssign) else [item.target for item in step.targets]:
            for leaf, definition in _defined(target, step.value):
                if not isinstance(leaf, cst.Name):
                    return None
                definitions[leaf.value, versions.get(leaf, 0)] = definition
    straight = Straight(definitions, last.value)
    return straight if _is_needed_whole(straight, versions) else None


def _defined(
    target: cst.BaseExpression, value: cst.BaseExpression
) -> list[tuple[cst.BaseExpression, cst.BaseExpression | Part]]:
    """What an assignment binds, leaf by leaf."""
    if not isinstance(target, (cst.Tuple, cst.List)):
        return [(target, value)]
    leaves = [element.value for element in target.elements]
    count = len(leaves)
    is_plain = isinstance(value, (cst.Tuple, cst.List)) and len(value.elements) == count
    if is_plain and all(isinstance(element, cst.Element) for element in value.elements):  # type: ignore[attr-defined]
        pairs = zip(leaves, (element.value for element in value.elements), strict=True)  # type: ignore[attr-defined]
        return [found for leaf, part in pairs for found in _defined(leaf, part)]
    if not all(isinstance(element, cst.Element) for element in target.elements):
        return [(target, value)]  # a star: refused, for it is no name
    return [(leaf, Part(value, index, count)) for index, leaf in enumerate(leaves)]


def _is_needed_whole(straight: Straight, versions: dict[Node, int]) -> bool:
    """Whether the value needs every definition, and every local it reads has one."""
    pending: list[cst.BaseExpression] = [straight.value]
    seen: set[Key] = set()
    together: dict[cst.BaseExpression, set[Key]] = {}  # what one value is unpacked into: one step
    for bound, value in straight.definitions.items():
        if isinstance(value, Part):
            together.setdefault(value.whole, set()).add(bound)
    while pending:
        root = pending.pop()
        for node in walk(root):
            if isinstance(node, _CROOKED) or _changes_in_place(node):
                return False
            key = (node.value, versions.get(node, 0)) if is_variable(node) else None  # type: ignore[attr-defined]
            if key is None or key[1] == 0 or key in seen:
                continue
            definition = straight.definitions.get(key)
            if definition is None:
                return False
            if isinstance(definition, Part):
                seen |= together[definition.whole]
                pending.append(definition.whole)
            else:
                seen.add(key)
                pending.append(definition)
    return seen == set(straight.definitions)


def _changes_in_place(node: Node) -> bool:
    """A call of a method named `name_`, or something bound inside an expression."""
    if isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute):
        method = node.func.attr.value
        return method.endswith("_") and not method.startswith("_")
    return any(True for _ in stored_nodes([node]))

"""Optional parts of a pattern: one text that stands for every spelling with and without them.

    with maybe:                     what is indented may be there or not
        query = self.q_norm(query)
    if maybe(condition):            it may stand under such a condition, or plainly
        query = turn(query)

They are numbered in the order of the text, in `before` and in `after` alike: each part of `after` belongs to the part
of `before` with its number. A part that is there is matched, and filled, as if its `maybe` were not written; one that
is not is as if nothing were written. (An argument `keyword=maybe` may be given or not, whatever its value: that is for
matching to see, for no `after` has one.)
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import product
from typing import Any

import libcst as cst

from porter.rulebook.markers import MAYBE, is_gap
from porter.tree import Function, Node
from porter.tree.fields import walk

MOST = 6  # parts of one pattern: each may double its spellings

Part = cst.With | cst.If


def parts_of(function: Function) -> tuple[Part, ...]:
    """The optional parts, in the order of the text."""
    compound = (node for node in walk(function.body) if isinstance(node, (cst.With, cst.If)))
    return tuple(node for node in compound if _is_block(node) or _condition(node))


def spellings(before: Function) -> Iterator[frozenset[int]]:
    """Numbers of the parts that are not there, for each spelling: the shortest first, as most code has few of them."""
    parts = parts_of(before)
    flags = product((True, False), repeat=len(parts))
    found = {frozenset(n for n, there in enumerate(choice) if not there) for choice in flags}
    inside = [{m for m, other in enumerate(parts) if other in set(walk(part)) - {part}} for part in parts]
    for absent in sorted(found, key=lambda numbers: (-len(numbers), sorted(numbers))):
        gone = {m for n in absent if _is_block(parts[n]) for m in inside[n]}
        if not gone & absent:  # what stands in a part that is gone is gone with it, and is counted once
            yield absent


def without(function: Function, absent: Collection[int]) -> Function:
    """The function with the parts that are there written plainly, and without those whose number is `absent`."""
    numbers = {part: number for number, part in enumerate(parts_of(function))}
    return _chosen(function, numbers, absent) if numbers else function


def _chosen(node: Any, numbers: dict[Part, int], absent: Collection[int]) -> Any:
    """A copy of the way to the optional parts; all else are the nodes that were there."""
    if not any(part in numbers for part in walk(node)):
        return node
    if isinstance(node, (cst.IndentedBlock, cst.SimpleStatementSuite)):
        lines: list[Any] = []
        for held in node.body:
            found = _lines(held, numbers, absent)
            joins = held in numbers and lines and found and _is_open(lines[-1]) and _is_open(found[0])
            lines += found[1:] if joins else found
        return node.with_changes(body=lines)
    changes = {
        name: _chosen(getattr(node, name), numbers, absent)
        for name in ("body", "orelse", "finalbody")
        if isinstance(getattr(node, name, None), Node)
    }
    return node.with_changes(**changes)


def _lines(line: Any, numbers: dict[Part, int], absent: Collection[int]) -> list[Any]:
    if line not in numbers:
        return [_chosen(line, numbers, absent)]
    there = numbers[line] not in absent
    if isinstance(line, cst.If) and there:
        return [line.with_changes(test=_condition(line), body=_chosen(line.body, numbers, absent))]
    if not there and _is_block(line):
        return []
    inner = line.body
    if isinstance(inner, cst.SimpleStatementSuite):
        return [cst.SimpleStatementLine(inner.body)]
    return list(_chosen(inner, numbers, absent).body)


def _is_open(line: Any) -> bool:
    """`...` on a line of its own: two of them, where a block joins what stands above it, are one."""
    return isinstance(line, cst.SimpleStatementLine) and is_gap(line.body[0])


def _is_block(node: Node) -> bool:
    items = node.items if isinstance(node, cst.With) else ()
    return len(items) == 1 and isinstance(items[0].item, cst.Name) and items[0].item.value == MAYBE


def _condition(node: Node) -> cst.BaseExpression | None:
    test = node.test if isinstance(node, cst.If) and node.orelse is None else None
    if isinstance(test, cst.Call) and isinstance(test.func, cst.Name) and test.func.value == MAYBE:
        return test.args[0].value if len(test.args) == 1 else None
    return None

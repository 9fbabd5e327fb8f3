"""Comments of what a rewrite takes away: those that nothing carries go above what takes its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import libcst as cst

from porter.match import Hit
from porter.rewrite.layout import comments_of, leading, own_line
from porter.tree import Node, Statement, Tree


def lost_comments(segment: Sequence[Statement], hit: Hit, tree: Tree, *, keeps_end: bool) -> list[cst.Comment]:
    """Comments inside a run that nothing carries: they go above what replaces it.

    `keeps_end`: the one behind its last line goes behind the last of the new lines.
    """
    start, end = tree.places.range(segment[0])[0], tree.places.range(segment[-1])[1]
    # What stands behind the last line of a block goes with it.
    goes_on = isinstance(segment[-1], cst.BaseCompoundStatement) or not keeps_end
    if "#" not in tree.text[start:end] and not goes_on:
        return []
    carried = _carried(hit, tree)
    found: list[cst.Comment] = []
    for number, statement in enumerate(segment):
        line: Any = tree.parents[statement]
        if isinstance(line, cst.SimpleStatementLine):
            if number and line.body[0] is statement:
                found += [above.comment for above in line.leading_lines if above.comment]
            found += comments_of(statement, carried)
            is_last = keeps_end and statement is segment[-1]
            behind = line.trailing_whitespace.comment if line.body[-1] is statement else None
            if behind and not is_last:
                found.append(behind)
        else:
            lines = leading(statement)
            whole = list(comments_of(statement, carried))
            found += whole if number else whole[sum(above.comment is not None for above in lines) :]
    return found


def _carried(hit: Hit, tree: Tree) -> frozenset[Node]:
    """What is put in again with the comments inside it; of the last of several arguments its comma is not."""
    rests = [rest for rest in hit.match.bindings.rests if rest]
    last = {rest[-1] for rest in rests if isinstance(rest[-1], cst.Arg)}
    values = {argument.value for argument in last if isinstance(argument, cst.Arg)}
    lines = {own_line(node, tree) for rest in rests for node in rest if not isinstance(node, cst.Arg)}
    return (hit.holes - last) | values | lines

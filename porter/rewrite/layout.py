"""Comments and blank lines: what a node that goes had around it is carried by what takes its place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import libcst as cst

from porter.tree import Node, Tree

Lines = Sequence[cst.EmptyLine]
Line = TypeVar("Line", bound=cst.BaseStatement)


def comment_lines(comments: Iterable[cst.Comment]) -> list[cst.EmptyLine]:
    """Each comment on a line of its own."""
    return [cst.EmptyLine(comment=comment) for comment in comments]


def without_first_blanks(lines: Lines) -> list[cst.EmptyLine]:
    """The lines from the first comment on."""
    first = next((number for number, line in enumerate(lines) if line.comment is not None), len(lines))
    return list(lines[first:])


def without_last_blanks(lines: Lines) -> list[cst.EmptyLine]:
    """The lines up to the last comment."""
    return without_first_blanks(lines[::-1])[::-1]


def with_leading(statement: Line, lines: Lines) -> Line:
    """The statement with just these lines above it."""
    return statement.with_changes(leading_lines=lines)


def leading(statement: Node) -> Lines:
    """The blank lines and comments above a statement."""
    return getattr(statement, "leading_lines", ())


def comments_of(node: Node, carried: frozenset[Node] | set[Node]) -> Iterator[cst.Comment]:
    """Comments in a node, in the order of the text, but for those inside the nodes that are carried over."""
    if isinstance(node, cst.Comment):
        yield node
    elif node not in carried:
        for child in node.children:
            yield from comments_of(child, carried)
    else:
        for bracket in (*getattr(node, "lpar", ()), *getattr(node, "rpar", ())):  # a hole is put in without them
            yield from comments_of(bracket, frozenset())


def apart(trailing: cst.TrailingWhitespace) -> cst.TrailingWhitespace:
    """The end of a line, its comment behind blanks: where it stood behind a semicolon, that had them."""
    if trailing.comment is None or trailing.whitespace.value:
        return trailing
    return trailing.with_changes(whitespace=cst.SimpleWhitespace("  "))


def as_lines(statement: Node, above: Lines = (), trailing: cst.TrailingWhitespace | None = None) -> cst.BaseStatement:
    """A statement as a line of its own."""
    if isinstance(statement, cst.BaseSmallStatement):
        bare = statement.with_changes(semicolon=cst.MaybeSentinel.DEFAULT)
        behind = apart(trailing or cst.TrailingWhitespace())
        return cst.SimpleStatementLine([bare], leading_lines=above, trailing_whitespace=behind)
    assert isinstance(statement, cst.BaseCompoundStatement)
    return with_leading(statement, above)


def own_line(statement: Node, tree: Tree) -> Node:
    """The line that holds nothing but the statement; else the statement itself."""
    line = tree.parents[statement]
    return line if isinstance(line, cst.SimpleStatementLine) and len(line.body) == 1 else statement

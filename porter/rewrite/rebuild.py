"""Edits -> a new tree: only the nodes above what changes are made anew, all others are those that were read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import libcst as cst

from porter.rewrite.edits import Edits, Run
from porter.rewrite.layout import (
    apart,
    as_lines,
    comment_lines,
    leading,
    with_leading,
    without_first_blanks,
    without_last_blanks,
)
from porter.tree import Node, Tree
from porter.tree.fields import fields


class Rebuilder:
    """Makes nodes with their edits applied, also inside what a metavariable bound."""

    def __init__(self, edits: Edits) -> None:
        self.edits = edits
        self._made: set[Node] = set()
        self._empty: set[Run] = set()  # runs that nothing takes the place of
        self._spine = _above(edits.tree, edits.touched())

    def changes(self, node: Node) -> bool:
        """Whether an edit is at the node or below it."""
        return node in self._spine

    def module(self) -> cst.Module:
        """The whole module, with every edit."""
        module = self.node(self.edits.tree.module)
        self._check_complete()
        assert isinstance(module, cst.Module)
        return module

    def node(self, node: Node) -> Any:
        """A node of the source as it is after the edits at it and below it."""
        make = self.edits.expressions.get(node)
        if make is not None:
            self._made.add(node)
            return make()
        if node not in self._spine:
            return node
        return self._transformed(node, self._with_children(node))

    def _with_children(self, node: Node) -> Any:
        if isinstance(node, (cst.Module, cst.IndentedBlock)):
            return self._block(node)
        if isinstance(node, cst.SimpleStatementSuite) and self._is_split(node.body):
            lines = [line for statement in node.body for line in self._statement(statement, [], None)]
            return cst.IndentedBlock(lines or [as_lines(cst.Pass())], header=node.trailing_whitespace)
        return self._generic(node)

    def _generic(self, node: Node) -> Any:
        changes: dict[str, Any] = {}
        for name in fields(node.__class__):
            value = getattr(node, name)
            if isinstance(value, Node):
                if value in self._spine:
                    changes[name] = self.node(value)
            elif isinstance(value, (list, tuple)) and any(item in self._spine for item in value):
                changes[name] = [self.node(item) for item in value]
        return node.with_changes(**changes) if changes else node

    def _transformed(self, node: Node, new: Any) -> Any:
        for transform in self.edits.transforms.get(node, ()):
            new = transform(new)
            self._made.add(node)
        return new

    # -- blocks

    def _block(self, block: Any) -> Any:
        body: list[cst.BaseStatement] = []
        owed: list[cst.EmptyLine] | None = None  # what stood above lines that went
        for line in block.body:
            made, left = self._line(line)
            for new in made:
                if owed is not None:
                    new = with_leading(new, [*owed, *without_first_blanks(leading(new))])
                    owed = None
                body.append(new)
            if left is not None:
                owed = left if owed is None else [*owed, *without_first_blanks(left)]
        changes: dict[str, Any] = {"body": body}
        if owed is not None:
            changes["footer"] = without_last_blanks([*owed, *without_first_blanks(block.footer)])
        if not body and isinstance(block, cst.IndentedBlock):
            changes["body"] = [as_lines(cst.Pass())]
        return block.with_changes(**changes)

    def _line(self, line: Any) -> tuple[Sequence[cst.BaseStatement], list[cst.EmptyLine] | None]:
        """What a line of a block becomes: lines; and what stays of it where nothing took its place."""
        statements = line.body if isinstance(line, cst.SimpleStatementLine) else [line]
        if not self._is_split(statements):
            return [self.node(line)], None
        made: list[cst.BaseStatement] = []
        left: list[cst.EmptyLine] | None = None
        above = [*leading(line)]
        for statement in statements:
            is_last = statement is statements[-1]
            trailing = line.trailing_whitespace if is_last and isinstance(line, cst.SimpleStatementLine) else None
            new = self._statement(statement, above, trailing)
            run = self.edits.runs.get(statement)
            if new:
                above, left = [], None
            elif run in self._empty and run.statements[0] is statement:
                above = left = [*above, *comment_lines(self._comments_above(statement))]
            made += new
        return made, left

    def _is_split(self, statements: Sequence[Node]) -> bool:
        edits = self.edits
        places = (edits.runs, edits.above, edits.comments_above)
        return any(statement in place for statement in statements for place in places)

    def _statement(
        self, statement: Any, above: list[cst.EmptyLine], trailing: cst.TrailingWhitespace | None
    ) -> Sequence[cst.BaseStatement]:
        run = self.edits.runs.get(statement)
        self._made.add(statement)
        if run is not None and statement is not run.statements[0]:
            return []
        lines: list[cst.BaseStatement] = [line for make in self.edits.above.get(statement, ()) for line in make()]
        if run is None:
            lines.append(as_lines(self.node(statement), trailing=trailing))
        else:
            lines += self._run(run)
        if lines:
            lines[0] = with_leading(lines[0], [*above, *comment_lines(self._comments_above(statement))])
        elif run is not None:
            self._empty.add(run)
        return lines

    def _run(self, run: Run) -> list[cst.BaseStatement]:
        """The lines of a run; the comment behind its last line stays behind the last of the new ones."""
        lines = list(run.make())
        last = self.edits.tree.parents[run.statements[-1]]
        if lines and isinstance(lines[-1], cst.SimpleStatementLine):
            is_end = isinstance(last, cst.SimpleStatementLine) and last.body[-1] is run.statements[-1]
            kept = last.trailing_whitespace if is_end else cst.TrailingWhitespace()  # type: ignore[attr-defined]
            lines[-1] = lines[-1].with_changes(trailing_whitespace=apart(kept))
        return lines

    def _comments_above(self, statement: Node) -> list[cst.Comment]:
        run = self.edits.runs.get(statement)
        return [*self.edits.comments_above.get(statement, ()), *(run.comments if run else ())]

    def _check_complete(self) -> None:
        """An edit that was not made must stand in code that another one dropped: anything else is a bug."""
        runs = frozenset(self.edits.runs) | frozenset(self.edits.expressions)
        for node in self.edits.touched() - self._made:
            parent = self.edits.tree.parents.get(node)
            if parent is None or not self.edits.tree.within(parent, runs):
                raise AssertionError(f"an edit at line {self.edits.tree.line(node)} was not made")


def _above(tree: Tree, nodes: set[Node]) -> set[Node]:
    """The nodes and all that hold them."""
    spine: set[Node] = set()
    for node in nodes:
        here: Node | None = node
        while here is not None and here not in spine:
            spine.add(here)
            here = tree.parents.get(here)
    return spine

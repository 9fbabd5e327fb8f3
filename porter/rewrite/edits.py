"""What changes in a tree, node by node: collected before any of it is made, so that edits can hold each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import libcst as cst

from porter.rewrite.ported import Change
from porter.tree import Node, Statement, Tree

MakeExpression = Callable[[], cst.BaseExpression]
MakeLines = Callable[[], Sequence[cst.BaseStatement]]
Transform = Callable[[Any], Any]  # a node whose children are done -> what stands there


@dataclass(frozen=True, eq=False)
class Run:
    """Statements one behind the other that become other lines; comments that would be lost go above those."""

    statements: tuple[Statement, ...]
    make: MakeLines
    comments: tuple[cst.Comment, ...] = ()


@dataclass
class Edits:
    """All edits of one module. `changes` says whose each is, in lines of the source."""

    tree: Tree
    expressions: dict[Node, MakeExpression] = field(default_factory=dict)
    runs: dict[Node, Run] = field(default_factory=dict)  # by each of its statements
    above: dict[Node, list[MakeLines]] = field(default_factory=dict)  # statement -> lines to put above it
    comments_above: dict[Node, list[cst.Comment]] = field(default_factory=dict)
    transforms: dict[Node, list[Transform]] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)

    def replace_run(self, run: Run) -> None:
        self.runs.update(dict.fromkeys(run.statements, run))

    def transform(self, node: Node, how: Transform) -> None:
        self.transforms.setdefault(node, []).append(how)

    def touched(self) -> set[Node]:
        """Every node that an edit is at."""
        return {*self.expressions, *self.runs, *self.above, *self.comments_above, *self.transforms}

    def record(self, rule: str, site: str, first: int, last: int) -> None:
        self.changes.append(Change(rule, site, first, last))

    def record_part(self, part: str, site: str, first: int, last: int) -> None:
        """A change that is no rule's doing."""
        self.changes.append(Change(None, site, first, last, part))

    def settle(self) -> None:
        """What goes above a statement that a run replaces, or that stands inside one, goes above the whole run."""
        tables: tuple[dict[Node, list[Any]], ...] = (self.above, self.comments_above)
        for table in tables:
            for statement in list(table):
                first = self._outermost_run(statement)
                if first is not None and first is not statement:
                    table.setdefault(first, []).extend(table.pop(statement))

    def _outermost_run(self, statement: Node) -> Node | None:
        found: Node | None = None
        here: Node | None = statement
        while here is not None:
            run = self.runs.get(here)
            found = run.statements[0] if run is not None else found
            here = self.tree.parents.get(here)
        return found

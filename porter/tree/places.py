"""Where every node stands in the text: told by printing the tree once, with a note at each node.

LibCST's own provider of positions counts lines and columns at every token, which takes longer than the parse; here
only the number of the token is noted, and lines are counted for the few nodes that are asked for. What is printed is
compared with the text, so that a tree which would not print as it was read is found out before anything is changed.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate

import libcst as cst
from libcst._nodes.internal import CodegenState

from porter.diagnostics import Span
from porter.tree.fields import Node


class Places:
    """The places of the nodes of one module, without the parentheses and layout around them."""

    def __init__(self, module: cst.Module) -> None:
        state = _Noting(module.default_indent, module.default_newline)
        module._codegen(state)
        self._tokens = state.tokens
        self._starts, self._ends = state.starts, state.ends
        self._offsets = [0, *accumulate(map(len, self._tokens))]
        self.text = "".join(self._tokens)
        self._line_starts = [0, *(at + 1 for at, char in enumerate(self.text) if char == "\n")]

    def __contains__(self, node: Node) -> bool:
        return node in self._starts

    def code(self, node: Node) -> str:
        """The node as it is written."""
        return "".join(self._tokens[self._starts[node] : self._ends[node]])

    def range(self, node: Node) -> tuple[int, int]:
        """(start, end) of a node, in characters of the text."""
        return self._offsets[self._starts[node]], self._offsets[self._ends[node]]

    def line(self, node: Node) -> int:
        """The line, from 1, that a node starts in."""
        return self._line_of(self.range(node)[0])

    def last_line(self, node: Node) -> int:
        """The line, from 1, that a node ends in."""
        return self._line_of(self.range(node)[1])

    def span(self, node: Node, path: str) -> Span:
        """The node's place for a message: columns in characters."""
        start, end = self.range(node)
        line, end_line = self._line_of(start), self._line_of(end)
        column, end_column = start - self._line_starts[line - 1], end - self._line_starts[end_line - 1]
        return Span(path, line, column, end_line, end_column)

    def _line_of(self, offset: int) -> int:
        return bisect_right(self._line_starts, offset)


class _Noting(CodegenState):
    """Prints as LibCST does, and notes for each node the number of its first token and of the one behind its last."""

    def __init__(self, default_indent: str, default_newline: str) -> None:
        super().__init__(default_indent, default_newline)
        self.starts: dict[Node, int] = {}
        self.ends: dict[Node, int] = {}

    def before_codegen(self, node: Node) -> None:
        self.starts[node] = len(self.tokens)

    def after_codegen(self, node: Node) -> None:
        if node not in self.ends:
            self.ends[node] = len(self.tokens)

    def record_syntactic_position(  # type: ignore[override]
        self, node: Node, *, start_node: Node | None = None, end_node: Node | None = None
    ) -> _Note:
        return _Note(self, node, start_node, end_node)


class _Note:
    """LibCST opens this around the code of a node, inside its parentheses; those of a tuple are the tuple's own."""

    __slots__ = ("_end_node", "_node", "_start_node", "_state")

    def __init__(self, state: _Noting, node: Node, start_node: Node | None, end_node: Node | None) -> None:
        self._state, self._node, self._start_node, self._end_node = state, node, start_node, end_node

    def __enter__(self) -> None:
        if self._start_node is None and self._node.__class__ is not cst.Tuple:
            self._state.starts[self._node] = len(self._state.tokens)

    def __exit__(self, *_: object) -> None:
        state, node = self._state, self._node
        if self._start_node is not None:
            state.starts[node] = state.starts[self._start_node]
        if node.__class__ is not cst.Tuple:
            state.ends[node] = state.ends[self._end_node] if self._end_node is not None else len(state.tokens)

"""An `after`, filled in: literal text from the rule file, and holes that stand for pieces of the source.

Holes are byte ranges of the source, so that what another rule changes inside them is changed here too.
"""

from __future__ import annotations

import ast
import itertools
import re
from dataclasses import dataclass

from porter.parse import Parsed, body_of, stored_names
from porter.plan import Hit
from porter.rule import LoadedRule, is_ellipsis, is_gap, is_rest

ATOMIC = (ast.Name, ast.Attribute, ast.Call, ast.Subscript, ast.Constant, ast.Tuple, ast.List, ast.Dict)


@dataclass(frozen=True)
class Hole:
    start: int
    end: int


Piece = str | Hole


def _stands_alone(text: str) -> bool:
    """Whether an expression over several lines is one without the brackets around it."""
    if "\n" not in text:
        return True
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


class Filler:
    """Fills the `after` of one hit."""

    def __init__(self, rule: LoadedRule, hit: Hit, parsed: Parsed, attributes: dict[str, str]) -> None:
        self.rule = rule
        self.hit = hit
        self.parsed = parsed
        self.bindings = hit.match.bindings
        self.attributes = attributes
        assert hit.match.pattern.after is not None
        self.after = hit.match.pattern.after
        self._rests = list(self.bindings.rests)
        self._parents = {child: node for node in ast.walk(self.after) for child in ast.iter_child_nodes(node)}
        taken = {n.id for n in parsed.nodes(hit.match.function) if isinstance(n, ast.Name)}
        taken |= {arg.arg for arg in hit.match.function.args.args}
        self._fresh = {name: self._free_name(name, taken) for name in self._new_locals()}

    def segments(self) -> list[list[Piece]]:
        """The text of each segment between top-level `...`, unindented."""
        groups: list[list[ast.stmt]] = [[]]
        for statement in body_of(self.after):
            if is_gap(statement):
                groups.append([])
            else:
                groups[-1].append(statement)
        return [self._statements(group) if group else [] for group in groups]

    def split_expressions(self, count: int) -> tuple[list[Piece], list[list[Piece]]]:
        """For an `expressions` edit: the statements to run first, and the `count` replacements."""
        body = body_of(self.after)
        prelude = self._statements(body[:-count]) if len(body) > count else []
        values = [s.value for s in body[-count:] if isinstance(s, (ast.Expr, ast.Return)) and s.value is not None]
        return prelude, [self._expression(value) for value in values]

    def parameter(self, node: ast.arg, default: ast.expr | None) -> str:
        """A parameter as the rule writes it, annotation and default included."""
        text = self.rule.parsed.text(node)
        if default is None:
            return text
        return f"{text}{' = ' if node.annotation else '='}{self.rule.parsed.text(default)}"

    # -- pieces

    def _statements(self, statements: list[ast.stmt]) -> list[Piece]:
        text = self.rule.parsed
        start, end = text.range(statements[0])[0], text.range(statements[-1])[1]
        pieces = self._fill(statements, start, end)
        indent = " " * statements[0].col_offset
        return [piece.replace("\n" + indent, "\n") if isinstance(piece, str) else piece for piece in pieces]

    def _expression(self, node: ast.expr) -> list[Piece]:
        start, end = self.rule.parsed.range(node)
        return self._fill([node], start, end)

    def _fill(self, nodes: list, start: int, end: int) -> list[Piece]:
        substitutions: list[tuple[int, int, list[Piece]]] = []
        for node in nodes:
            self._collect(node, substitutions)
        pieces: list[Piece] = []
        position = start
        for first, last, replacement in sorted(substitutions, key=lambda item: item[0]):
            pieces.append(self.rule.parsed.data[position:first].decode())
            pieces += replacement
            position = last
        pieces.append(self.rule.parsed.data[position:end].decode())
        return pieces

    def _collect(self, node: ast.AST, out: list[tuple[int, int, list[Piece]]]) -> None:
        text = self.rule.parsed
        if isinstance(node, ast.keyword) and is_rest(node):
            out.append((*self._rest_extent(node), self._rest()))
            return
        if is_gap(node) or (is_ellipsis(node) and isinstance(self._parents.get(node), ast.Call)):
            out.append((*text.range(node), self._rest()))
            return
        if isinstance(node, ast.Name):
            replacement = self._name(node)
            if replacement is not None:
                out.append((*text.range(node), replacement))
        if isinstance(node, ast.Attribute) and node.attr in self.attributes:
            end = text.range(node)[1]
            out.append((end - len(node.attr), end, [self.attributes[node.attr]]))
        for child in ast.iter_child_nodes(node):
            self._collect(child, out)

    def _name(self, node: ast.Name) -> list[Piece] | None:
        version = self.rule.parsed.versions.get(node, 0)
        if node.id in self.bindings.metas and version == 0:
            bound = self.bindings.metas[node.id]
            hole = Hole(*self.parsed.range(bound))
            return ["(", hole, ")"] if self._needs_parentheses(node, bound) else [hole]
        if node.id in self.bindings.names:
            return [self.bindings.names[node.id]]
        if node.id in self._fresh:
            return [self._fresh[node.id]]
        if isinstance(node.ctx, ast.Store) and node.id in self.bindings.metas:
            return [self.parsed.text(self.bindings.metas[node.id])]
        return None

    def _needs_parentheses(self, node: ast.Name, bound: ast.expr) -> bool:
        parent = self._parents.get(node)
        if not _stands_alone(self.parsed.text(bound)) and not isinstance(parent, (ast.Call, ast.keyword)):
            return True
        if isinstance(bound, ATOMIC):
            return False
        return not isinstance(parent, (ast.Call, ast.keyword, ast.Assign, ast.Return, ast.Expr, ast.List, ast.Tuple))

    def _rest_extent(self, node: ast.keyword) -> tuple[int, int]:
        """The range of `**...`; where it stands for nothing, the comma before it goes too."""
        start, end = self.rule.parsed.range(node)
        if self._rests and not self._rests[0]:
            before = self.rule.parsed.data[:start].rstrip()
            if before.endswith(b","):
                return len(before) - 1, end
        return start, end

    def _rest(self) -> list[Piece]:
        """What the next `...` stands for: one hole where it is contiguous, else the parts with commas."""
        if not self._rests:
            return []
        nodes = self._rests.pop(0)
        ranges = sorted(self.parsed.range(node) for node in nodes)
        if not ranges:
            return []
        between = [self.parsed.data[a[1] : b[0]] for a, b in itertools.pairwise(ranges)]
        if all(re.fullmatch(rb"(\s|,|#[^\n]*)*", gap) for gap in between):
            return [Hole(ranges[0][0], ranges[-1][1])]
        pieces: list[Piece] = []
        for index, (start, end) in enumerate(ranges):
            pieces += [", "] if index else []
            pieces.append(Hole(start, end))
        return pieces

    def _new_locals(self) -> set[str]:
        parameters = {arg.arg for arg in self.after.args.args}
        return stored_names(self.after) - set(self.bindings.names) - set(self.bindings.metas) - parameters - {"_"}

    @staticmethod
    def _free_name(name: str, taken: set[str]) -> str:
        while name in taken:
            name += "_"
        return name

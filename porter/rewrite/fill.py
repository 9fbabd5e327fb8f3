"""An `after`, filled in: its own nodes, and in the place of metavariables and `...` nodes of the source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import libcst as cst

from porter.match import Hit
from porter.rewrite.layout import as_lines, leading, own_line
from porter.rewrite.parentheses import bare, fitted
from porter.rewrite.strings import inside_string
from porter.rulebook.markers import is_gap, is_open
from porter.tree import Node, Tree
from porter.tree.fields import fields
from porter.tree.functions import is_docstring, parameter_names

Rebuild = Callable[[Node], Node]  # a node of the source -> the same with what other rules change in it
_SAID = frozenset({"_"})


class Filler:
    """Fills the `after` of one hit. To be used once: each `...` stands for the next of what the match kept."""

    def __init__(self, hit: Hit, source: Tree, attributes: dict[str, str], rebuild: Rebuild) -> None:
        assert hit.match.pattern.after is not None
        self.after = hit.match.pattern.after
        self.source = source
        self.rebuild = rebuild
        self.bindings = hit.match.bindings
        self.attributes = attributes
        self._pattern = hit.match.pattern
        self._rests = list(self.bindings.rests)
        taken = _names_kept(hit, source) | parameter_names(hit.match.function)
        self._fresh = {name: _free_name(name, taken) for name in sorted(self._new_locals())}

    def segments(self) -> list[list[cst.BaseStatement]]:
        """The lines of each segment between top-level `...`."""
        groups: list[list[cst.BaseStatement]] = [[]]
        for line in self._lines():
            if isinstance(line, cst.SimpleStatementLine) and is_gap(line.body[0]):
                groups.append([])
            else:
                filled = self._fill(line, None)
                if not _is_idle(filled):
                    groups[-1].append(filled)
        return groups

    def expressions(self, count: int) -> tuple[list[cst.BaseStatement], list[cst.BaseExpression]]:
        """For an edit of expressions: the statements to run first, and the `count` replacements."""
        lines = self._lines()
        prelude = [self._fill(line, None) for line in lines[:-count]]
        last = [statement for line in lines[-count:] for statement in _small(line)]
        values = [s.value for s in last if isinstance(s, (cst.Expr, cst.Return)) and s.value is not None]
        return prelude, [self._fill(value, None) for value in values]

    def _lines(self) -> list[cst.BaseStatement]:
        suite = self.after.body
        lines: Sequence[Any] = suite.body if isinstance(suite, cst.IndentedBlock) else [as_lines(s) for s in suite.body]
        first = _small(lines[0]) if lines else ()
        return list(lines[1:] if first and is_docstring(first[0]) else lines)

    # -- nodes

    def _fill(self, node: Any, parent: Node | None) -> Any:
        if isinstance(node, cst.Name):
            return self._name(node, parent)
        changes: dict[str, Any] = {}
        for name in fields(node.__class__):
            value = getattr(node, name)
            if isinstance(value, Node):
                filled = self._fill(value, node)
                if filled is not value:
                    changes[name] = filled
            elif isinstance(value, (list, tuple)) and value:
                items = self._items(value, node)
                if len(items) != len(value) or any(a is not b for a, b in zip(items, value, strict=True)):
                    changes[name] = items
        if (
            isinstance(node, cst.FormattedStringExpression)
            and isinstance(parent, cst.FormattedString)
            and "expression" in changes
        ):
            changes["expression"] = inside_string(changes["expression"], parent)
        if isinstance(node, cst.Attribute) and node.attr.value in self.attributes:
            changes["attr"] = cst.Name(self.attributes[node.attr.value])
        if isinstance(node, cst.Param) and node.name.value in self._fresh:  # of a lambda
            changes["name"] = cst.Name(self._fresh[node.name.value])
        return node.with_changes(**changes) if changes else node

    def _items(self, items: Sequence[Any], parent: Node) -> list[Any]:
        filled: list[Any] = []
        idle: list[Any] = []
        for item in items:
            if isinstance(item, cst.Arg) and is_open(item):
                _put_arguments(filled, [self.rebuild(node) for node in self._rest()], item)
            elif isinstance(item, cst.SimpleStatementLine) and is_gap(item.body[0]):
                filled += [self._line(node) for node in self._rest()]
            else:
                line = self._fill(item, parent)
                is_idle = isinstance(parent, cst.IndentedBlock) and _is_idle(line)
                (idle if is_idle else filled).append(line)
        return filled or idle[:1]  # all of it idle: a block holds a statement

    def _line(self, statement: Node) -> cst.BaseStatement:
        """A statement of the source with what stands above and behind it."""
        line = own_line(statement, self.source)
        return as_lines(self.rebuild(statement), leading(line), getattr(line, "trailing_whitespace", None))

    def _rest(self) -> tuple[Node, ...]:
        return self._rests.pop(0) if self._rests else ()

    def _name(self, node: cst.Name, parent: Node | None) -> cst.BaseExpression:
        version = self._pattern.versions.get(node, 0)
        bound = self.bindings.metas.get(node.value)
        is_target = node in self._pattern.stored
        if bound is not None and version == 0:
            filled = self.rebuild(bound)
            assert isinstance(filled, cst.BaseExpression)
            new = bare(filled)
            return fitted(
                new, parent, self.source.code(bound) if filled is bound else cst.Module([]).code_for_node(new)
            )
        name = self.bindings.names.get(node.value) or self._fresh.get(node.value)
        if name is not None:
            return node.with_changes(value=name)
        return bare(bound) if bound is not None and (is_target or version) else node

    def _new_locals(self) -> set[str]:
        named = {name for name, bound in self.bindings.metas.items() if isinstance(bound, cst.Name)}
        known = {*self.bindings.names, *named, *(parameter_names(self.after) - set(self.bindings.metas)), *_SAID}
        return set(self._pattern.assigned_after) - known


def _names_kept(hit: Hit, source: Tree) -> set[str]:
    """Names in the code that stays: of a body that is replaced as a whole, in what metavariables stand for."""
    is_whole = hit.edit.unit == "function"
    roots = hit.match.bindings.metas.values() if is_whole else (hit.match.function,)
    return {node.value for root in roots for node in source.nodes(root) if isinstance(node, cst.Name)}


def _put_arguments(filled: list[Any], arguments: list[Any], marker: cst.Arg) -> None:
    """Arguments in the place of `**...`; where it stands for none, the comma before it goes instead of its own."""
    if arguments:
        filled += [*arguments[:-1], arguments[-1].with_changes(comma=marker.comma)]
        for number, argument in enumerate(filled[:-1]):
            if isinstance(argument.comma, cst.MaybeSentinel):
                filled[number] = argument.with_changes(comma=cst.Comma(whitespace_after=cst.SimpleWhitespace(" ")))
    elif filled:
        filled[-1] = filled[-1].with_changes(comma=marker.comma)


def _small(line: Any) -> Sequence[cst.BaseSmallStatement]:
    return line.body if isinstance(line, cst.SimpleStatementLine) else ()


def _is_idle(line: Any) -> bool:
    """`x = x`: what a metavariable stands for has the name already that the pattern gives it."""
    statements = _small(line)
    assign = statements[0] if len(statements) == 1 else None
    if not isinstance(assign, cst.Assign) or len(assign.targets) != 1:
        return False
    target, value = assign.targets[0].target, assign.value
    return isinstance(target, cst.Name) and isinstance(value, cst.Name) and target.value == value.value


def _free_name(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name

"""A plan -> the edits of its hits: what each rule's `after` puts in the place of what its `before` matched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Protocol

import libcst as cst

from porter.match import Application, Hit
from porter.match.soundness.signature import added_parameters
from porter.match.soundness.strings import enclosing_string
from porter.rewrite.comments import lost_comments
from porter.rewrite.edits import Edits, Run
from porter.rewrite.fill import Filler, Rebuild
from porter.rewrite.layout import comments_of, leading, with_leading
from porter.rewrite.parentheses import bare, enclosed, fitted
from porter.rewrite.signature import insertion_line, with_parameters
from porter.rewrite.strings import inside_string
from porter.tree import Node, Statement, Tree

Fill = Callable[[Rebuild], Filler]


class Later(Protocol):
    """Gives a node of the source with all edits in it, once those are known."""

    def __call__(self, node: Node) -> Node: ...

    def changes(self, nodes: Iterable[Node]) -> bool:
        """Whether an edit is at one of the nodes, or inside it."""
        ...


def collect(application: Application, hit: Hit, edits: Edits, rebuild: Later) -> None:
    """Add the edits of one hit."""
    attributes = dict(application.attributes) | hit.match.bindings.attributes
    fill: Fill = partial(Filler, hit, edits.tree, attributes)
    if hit.match.expressions:
        _collect_expressions(application.rule.name, hit, edits, fill, rebuild)
    else:
        _collect_statements(application.rule.name, hit, edits, fill, rebuild)


def _collect_statements(rule: str, hit: Hit, edits: Edits, fill: Fill, rebuild: Later) -> None:
    as_found = fill(lambda node: node).segments()
    cached = _Once(lambda: fill(rebuild).segments() if rebuild.changes(hit.holes) else as_found)
    for number, (segment, found) in enumerate(zip(hit.match.segments, as_found, strict=True)):
        if not segment or _says_the_same(segment, found, edits):
            continue
        keeps_end = bool(found) and isinstance(found[-1], cst.SimpleStatementLine)
        comments = tuple(lost_comments(segment, hit, edits.tree, keeps_end=keeps_end))
        edits.replace_run(Run(segment, partial(lambda number: cached()[number], number), comments))
        edits.record(rule, hit.site, edits.tree.line(segment[0]), _last_line(segment, found, comments, edits))
    for parameter in added_parameters(hit):
        line = insertion_line(hit, parameter, edits.tree)
        edits.record(rule, hit.site, line, line - 1)
    if added_parameters(hit):
        function = hit.match.function
        edits.transform(function, lambda new: with_parameters(new, hit))
        if hit.match.pattern.after and hit.match.pattern.after.returns and function.returns:
            returns = function.returns.annotation
            edits.record(rule, hit.site, edits.tree.line(returns), edits.tree.places.last_line(returns))


def _collect_expressions(rule: str, hit: Hit, edits: Edits, fill: Fill, rebuild: Later) -> None:
    nodes, tree = hit.match.expressions, edits.tree
    as_found = fill(lambda node: node).expressions(len(nodes))
    cached = _Once(lambda: fill(rebuild).expressions(len(nodes)) if rebuild.changes(hit.holes) else as_found)
    prelude, found = as_found
    comments: list[cst.Comment] = []
    for number, (node, new) in enumerate(zip(nodes, found, strict=True)):
        if bare(node).deep_equals(bare(new)):
            continue
        edits.expressions[node] = partial(_in_place_of, node, tree, cached, number)
        edits.record(rule, hit.site, tree.line(node), tree.places.last_line(node))
        if "#" in tree.code(node):
            comments += comments_of(bare(node), hit.holes)
    statement = _statement_of(min(nodes, key=lambda node: tree.places.range(node)[0]), edits)
    if prelude:
        edits.above.setdefault(statement, []).append(lambda: cached()[0])
    if comments:
        edits.comments_above.setdefault(statement, []).extend(comments)
    if prelude or comments:
        line = tree.line(statement)
        edits.record(rule, hit.site, line, line - 1)


class _Once:
    """A value worked out when it is first asked for: by then every edit is known."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make, self._made = make, None

    def __call__(self) -> Any:
        if self._made is None:
            self._made = self._make()
        return self._made


def _in_place_of(node: Any, tree: Tree, filled: _Once, number: int) -> cst.BaseExpression:
    """The new expression inside the parentheses of the old one, or in such as it needs itself."""
    new = filled()[1][number]
    string = enclosing_string(node, tree)
    if string is not None:
        new = inside_string(new, string)
    if node.lpar and not isinstance(node, (cst.Tuple, cst.GeneratorExp)):
        return new.with_changes(lpar=[*node.lpar, *new.lpar], rpar=[*new.rpar, *node.rpar])
    if node.lpar and isinstance(tree.parents[node], cst.BaseSmallStatement) and not new.lpar:
        return enclosed(new)  # `return(x, y)`: the brackets stood for a blank
    return fitted(new, tree.parents[node], cst.Module([]).code_for_node(new))


def _statement_of(node: Node, edits: Edits) -> Node:
    """The innermost statement that holds a node and stands in a block: not an `elif`, but the `if` it belongs to."""
    here = node
    while not isinstance(edits.tree.parents[here], (cst.SimpleStatementLine, cst.BaseSuite, cst.Module)):
        here = edits.tree.parents[here]
    return here


def _says_the_same(segment: Sequence[Statement], found: Sequence[cst.BaseStatement], edits: Edits) -> bool:
    """An edit that only asks for code to be there writes what it found."""
    lines = [edits.tree.parents[statement] for statement in segment]
    if len(lines) != len(found) or len(set(lines)) < len(lines):
        return False
    for statement, line, new in zip(segment, lines, found, strict=True):
        old: Any = line if isinstance(line, cst.SimpleStatementLine) else statement
        is_first = statement is segment[0]
        new = with_leading(new, leading(old)) if is_first else new
        if isinstance(new, cst.SimpleStatementLine) and statement is segment[-1]:
            new = new.with_changes(trailing_whitespace=getattr(old, "trailing_whitespace", new.trailing_whitespace))
        if not old.deep_equals(new):
            return False
    return True


def _last_line(segment: Sequence[Statement], found: Sequence[object], comments: Sequence[object], edits: Edits) -> int:
    """The last line a run takes; where nothing takes its place, up to the line that follows."""
    last = edits.tree.places.last_line(segment[-1])
    if found or comments:
        return last
    lines = edits.tree.text.split("\n")
    while last < len(lines) and not lines[last].strip():
        last += 1
    return last + 1

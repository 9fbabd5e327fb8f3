"""One pattern in one function: a whole body, runs of statements, an expression wherever it occurs, several together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import libcst as cst

from porter.match.bindings import Bindings, Match
from porter.match.value import ValueUnifier
from porter.rulebook.faults import is_expression
from porter.tree import Function, Node
from porter.tree.functions import blocks, body_of, in_one_block
from porter.tree.names import last_name

_NAMES = (cst.Name, cst.Attribute)


class PatternMatcher(ValueUnifier):
    """Finds one pattern; `miss` is the deepest mismatch of all that was tried."""

    def find(self, function: Function, unit: str, start: Bindings | None = None) -> list[Match]:
        """Every match in a function, by the unit of the edit."""
        opened = self._open(function, start or Bindings())
        if opened is None:
            return []
        if unit == "function":
            found = next(self.matches(body_of(function), 0, opened, whole=True), None)
            found = found or self.same_value(function, opened)
            return [replace(found, function=function)] if found else []
        if unit == "expression":
            return list(self._expressions(function, opened))
        if unit == "expressions":
            group = self._expression_group(function, opened)
            return [group] if group else []
        return list(self._statements(function, opened))

    def _open(self, function: Function, start: Bindings) -> Bindings | None:
        """Bind the pattern's `**kwargs` to the function's; a function without one cannot match."""
        self.enter(function)
        if self.kwargs is None:
            return start
        star = function.params.star_kwarg
        if star is None:
            self.note(self.pattern.before, function)
            return None
        names = {**start.names, self.kwargs: star.name.value}
        return replace(start, names=names, locals={**start.locals, (self.kwargs, 0): (star.name.value, 0)})

    def _statements(self, function: Function, start: Bindings) -> Iterator[Match]:
        """Every place where the pattern's statements stand, without overlap."""
        for block in blocks(function):
            index = 0
            while index < len(block):
                match = next(self.matches(block, index, start, whole=False), None)
                if match is None:
                    index += 1
                    continue
                yield replace(match, function=function)
                index += sum(len(part) for part in (*match.segments, *match.gaps))

    def _expressions(self, function: Function, start: Bindings) -> Iterator[Match]:
        wanted = _expression(self.body[0])
        for node in self._candidates(function, wanted):
            self.depth = 0
            bindings = self.unify(wanted, node, start)
            if bindings is not None:
                yield Match(self.pattern, function, bindings, expressions=(node,))

    def _expression_group(self, function: Function, start: Bindings) -> Match | None:
        """Several expressions, each found exactly once, sharing bindings."""
        bindings = start
        found: list[cst.BaseExpression] = []
        for statement in self.body:
            wanted = _expression(statement)
            hits = []
            for node in self._candidates(function, wanted):
                self.depth = 0
                attempt = self.unify(wanted, node, bindings)
                if attempt is not None:
                    hits.append((node, attempt))
            if len(hits) != 1:
                self.note(wanted, hits[1][0] if hits else None)
                return None
            self.matched += 1
            found.append(hits[0][0])
            bindings = hits[0][1]
        if not in_one_block(function, found):
            self.note(self.pattern.before, found[0] if found else function)
            return None
        return Match(self.pattern, function, bindings, expressions=tuple(found))

    def _candidates(self, function: Function, wanted: Node) -> Iterator[cst.BaseExpression]:
        """Expressions of the body that are read and of the kind that is wanted; a name may be written with dots."""
        kinds = set(_NAMES) if isinstance(wanted, _NAMES) else self.others.kinds(wanted)
        names = self._names_of(wanted)
        for node in self.source.nodes(function.body):
            is_candidate = node.__class__ in kinds and node not in self.source.stored
            if is_candidate and (names is None or last_name(node) in names):
                yield node  # type: ignore[misc]

    def _names_of(self, wanted: Node) -> set[str] | None:
        """The last names that a global name of the pattern may have in the source; None for what is no such name."""
        meaning = self.pattern.meanings.get(wanted)
        if meaning is None:
            return None
        bound = {item.bound for item in self.source.imports.values() if item.name == meaning.split(".")[-1]}
        return bound | {meaning.split(".")[-1], last_name(wanted) or ""}


def _expression(statement: Node) -> cst.BaseExpression:
    assert is_expression(statement)
    return statement.value  # type: ignore[attr-defined]

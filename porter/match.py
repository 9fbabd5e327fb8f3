"""Unify a rule's `before` with source code; remember where a miss came closest.

Annotations, docstrings, comments, layout, parentheses, quotes and the order of keywords do not count. Parameters of
`before` stand for any expression, the same one wherever they occur; names it assigns are locals, matched up to one
consistent renaming of values (name and version, see `parse`); everything else is literal.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace

from porter.bindings import Bindings, Match, Miss
from porter.parse import Function, Parsed, arguments_of, blocks, body_of, in_one_block
from porter.rule import LoadedRule, Pattern, is_ellipsis, is_gap, is_rest

IGNORED_FIELDS = frozenset({"ctx", "type_comment", "annotation", "returns", "kind", "type_params", "simple"})


class Unifier:
    """Matches one pattern of one rule; keeps the deepest mismatch of all attempts in `miss`."""

    def __init__(self, rule: LoadedRule, pattern: Pattern, source: Parsed) -> None:
        self.rule = rule
        self.pattern = pattern
        self.source = source
        self.miss: Miss | None = None
        self._depth = 0
        self._matched_statements = 0
        self._attributes = frozenset(rule.declared.attributes)
        self._total = sum(1 for statement in body_of(pattern.before) if not is_gap(statement))
        star = pattern.before.args.kwarg
        self._kwargs = star.arg if star else None
        self._parameters: frozenset[str] = frozenset()  # of the function at hand: they hide globals of the same name

    # -- whole patterns

    def function(self, function: Function, start: Bindings) -> Match | None:
        """The whole body of `function`."""
        found = self._block(body_of(self.pattern.before), body_of(function), self._open(function, start), exact=True)
        return next((replace(match, function=function) for match in found), None)

    def statements(self, function: Function, start: Bindings) -> Iterator[Match]:
        """Every place in `function` where the pattern's statements stand, without overlap."""
        pattern = body_of(self.pattern.before)
        opened = self._open(function, start)
        if opened is None:
            return
        for block in blocks(function):
            index = 0
            while index < len(block):
                match = next(self._block(pattern, block[index:], opened, exact=False), None)
                if match is None:
                    index += 1
                    continue
                yield replace(match, function=function)
                index = block.index(match.segments[-1][-1]) + 1

    def expressions(self, function: Function, roots: list[ast.AST], start: Bindings) -> Iterator[Match]:
        """Every occurrence of a single expression below `roots`."""
        wanted = _expression(body_of(self.pattern.before)[0])
        opened = self._open(function, start)
        if opened is None:
            return
        for root in roots:
            for node in self.source.nodes(root):
                if isinstance(node, ast.expr) and isinstance(node, type(wanted)) and _is_load(node):
                    bindings = self._try(wanted, node, opened)
                    if bindings is not None:
                        yield Match(self.pattern, function, bindings, expressions=(node,))

    def expression_group(self, function: Function, start: Bindings) -> Match | None:
        """Several expressions, each found exactly once, sharing bindings."""
        bindings = self._open(function, start)
        found: list[ast.expr] = []
        candidates = [node for statement in body_of(function) for node in self.source.nodes(statement)]
        for statement in body_of(self.pattern.before):
            wanted = _expression(statement)
            hits = []
            for node in candidates:
                if bindings is not None and isinstance(node, ast.expr) and isinstance(node, type(wanted)):
                    attempt = self._try(wanted, node, bindings)
                    if attempt is not None:
                        hits.append((node, attempt))
            if len(hits) != 1:
                self._note(wanted, hits[1][0] if hits else None)
                return None
            self._matched_statements += 1
            found.append(hits[0][0])
            bindings = hits[0][1]
        if bindings is None or not in_one_block(function, found):
            self._note(self.pattern.before, found[0] if found else function)
            return None
        return Match(self.pattern, function, bindings, expressions=tuple(found))

    # -- blocks

    def _open(self, function: Function, start: Bindings) -> Bindings | None:
        """Bind the pattern's `**kwargs` to the function's; a function without one cannot match."""
        self._parameters = frozenset(arg.arg for arg in arguments_of(function) if arg.arg != "self")
        if self._kwargs is None:
            return start
        if function.args.kwarg is None:
            self._note(self.pattern.before.args.kwarg or self.pattern.before, function)
            return None
        names = {**start.names, self._kwargs: function.args.kwarg.arg}
        locals_ = {**start.locals, (self._kwargs, 0): (function.args.kwarg.arg, 0)}
        return replace(start, names=names, locals=locals_)

    def _block(
        self, pattern: list[ast.stmt], block: list[ast.stmt], start: Bindings | None, exact: bool
    ) -> Iterator[Match]:
        if start is None:
            return
        self._depth, self._matched_statements = 0, 0
        for bindings, taken in self._run(pattern, block, start, exact):
            segments: list[list[ast.stmt]] = [[]]
            gaps: list[tuple[ast.stmt, ...]] = []
            for wanted, statements in taken:
                if is_gap(wanted):
                    gaps.append(statements)
                    segments.append([])
                else:
                    segments[-1] += statements
            yield Match(self.pattern, self.pattern.before, bindings, tuple(map(tuple, segments)), tuple(gaps))

    def _run(
        self, pattern: list[ast.stmt], block: list[ast.stmt], bindings: Bindings, exact: bool
    ) -> Iterator[tuple[Bindings, list[tuple[ast.stmt, tuple[ast.stmt, ...]]]]]:
        """Match statement after statement; `...` takes as few as it can."""
        if not pattern:
            if not exact or not block:
                yield bindings, []
            else:
                self._note(self.pattern.before, block[0])
            return
        head, rest = pattern[0], pattern[1:]
        if is_gap(head):
            for count in range(len(block) + 1):
                taken = tuple(block[:count])
                for found, tail in self._run(rest, block[count:], bindings, exact):
                    yield found, [(head, taken), *tail]
            return
        if not block:
            self._note(head, None)
            return
        before = self._matched_statements
        found_bindings = self._unify(head, block[0], bindings)
        if found_bindings is not None:
            self._matched_statements = before + 1
            for found, tail in self._run(rest, block[1:], found_bindings, exact):
                yield found, [(head, (block[0],)), *tail]
        self._matched_statements = before

    # -- nodes

    def _try(self, wanted: ast.AST, node: ast.AST, bindings: Bindings) -> Bindings | None:
        self._depth = 0
        return self._unify(wanted, node, bindings)

    def _note(self, expected: ast.AST, found: ast.AST | None) -> None:
        if self.miss is None or (self._matched_statements, self._depth) > (self.miss.statements[0], self.miss.depth):
            done = (self._matched_statements, self._total)
            self.miss = Miss(self._depth, self.pattern, expected, found, done)

    def _unify(self, p: ast.AST, s: ast.AST, b: Bindings) -> Bindings | None:
        if isinstance(p, ast.expr) and is_ellipsis(p) and isinstance(s, ast.expr):
            return b
        if isinstance(p, ast.Name) and isinstance(s, ast.expr):
            result = self._name(p, s, b)
        elif isinstance(p, ast.Assign) and isinstance(s, ast.AnnAssign) and s.value is not None:
            result = self._values((p.value, p.targets[0]), (s.value, s.target), b)
        elif type(p) is not type(s):
            result = None
        elif isinstance(p, ast.Assign) and isinstance(s, ast.Assign):
            same = len(p.targets) == len(s.targets)
            result = self._values((p.value, *p.targets), (s.value, *s.targets), b) if same else None
        elif isinstance(p, ast.Attribute) and isinstance(s, ast.Attribute):
            result = self._attribute(p, s, b)
        elif isinstance(p, ast.Call) and isinstance(s, ast.Call):
            result = self._call(p, s, b)
        else:
            return self._fields(p, s, b)  # the note is made at the field that differs
        if result is None:
            self._note(p, s)
        else:
            self._depth += 1
        return result

    def _values(self, p: tuple[ast.AST, ...], s: tuple[ast.AST, ...], b: Bindings) -> Bindings | None:
        result: Bindings | None = b
        for wanted, node in zip(p, s, strict=True):
            result = self._unify(wanted, node, result) if result is not None else None
        return result

    def _fields(self, p: ast.AST, s: ast.AST, b: Bindings) -> Bindings | None:
        for name in p._fields:
            if name in IGNORED_FIELDS:
                continue
            wanted, value = getattr(p, name, None), getattr(s, name, None)
            result: Bindings | None = b
            if isinstance(wanted, list) and isinstance(value, list):
                result = self._list(p, s, wanted, value, b)
            elif isinstance(wanted, ast.AST) and isinstance(value, ast.AST):
                result = self._unify(wanted, value, b)
            elif wanted != value or type(wanted) is not type(value):
                self._note(p, s)
                result = None
            if result is None:
                return None
            b = result
        self._depth += 1
        return b

    def _list(self, p: ast.AST, s: ast.AST, wanted: list, values: list, b: Bindings) -> Bindings | None:
        if wanted and isinstance(wanted[0], ast.stmt):
            return self._inner_block(wanted, values, b)
        if len(wanted) != len(values):
            self._note(p, s)
            return None
        return self._values(tuple(wanted), tuple(values), b)

    def _inner_block(self, wanted: list[ast.stmt], values: list[ast.stmt], b: Bindings) -> Bindings | None:
        """The block of a compound: what its `...` stands for is kept, to be written again."""
        for found, taken in self._run(wanted, values, b, exact=True):
            gaps = tuple(statements for statement, statements in taken if is_gap(statement))
            return replace(found, rests=(*found.rests, *gaps))
        return None

    def _name(self, p: ast.Name, s: ast.expr, b: Bindings) -> Bindings | None:
        version = self.pattern.file.versions.get(p, 0)
        if p.id in self.pattern.metavariables and version == 0:
            bound = b.metas.get(p.id)
            if bound is None:
                return replace(b, metas={**b.metas, p.id: s})
            return b if self.same_code(bound, s) else None
        if not isinstance(s, ast.Name):
            return None
        value = (s.id, self.source.versions.get(s, 0))
        if version > 0 or p.id == self._kwargs:
            key = (p.id, version)
            if key in b.locals:
                return b if b.locals[key] == value else None
            if value in b.locals.values() or b.names.get(p.id, s.id) != s.id:
                return None
            return replace(b, locals={**b.locals, key: value}, names={**b.names, p.id: s.id})
        return b if value == (p.id, 0) and p.id not in self._parameters else None

    def _attribute(self, p: ast.Attribute, s: ast.Attribute, b: Bindings) -> Bindings | None:
        if p.attr in self._attributes:
            if b.attributes.get(p.attr, s.attr) != s.attr:
                return None
            b = replace(b, attributes={**b.attributes, p.attr: s.attr})
        elif p.attr != s.attr:
            return None
        return self._unify(p.value, s.value, b)

    def _call(self, p: ast.Call, s: ast.Call, b: Bindings) -> Bindings | None:
        result = self._unify(p.func, s.func, b)
        if result is None:
            return None
        takes_positionals = bool(p.args) and is_ellipsis(p.args[-1])
        takes_rest = takes_positionals or any(is_rest(k) for k in p.keywords)
        args = [a for a in p.args if not is_ellipsis(a)]
        keywords = [k for k in p.keywords if not is_rest(k)]
        pairs = [*zip(args, s.args, strict=False)]
        left = list(s.keywords)
        for keyword in keywords:  # a `**` of the pattern takes one `**`, in order
            found = next((k for k in left if k.arg == keyword.arg), None)
            if found is None:
                return None
            left.remove(found)
            pairs.append((keyword.value, found.value))
        positionals = s.args[len(args) :]
        if len(args) > len(s.args) or (positionals and not takes_positionals) or (left and not takes_rest):
            return None
        rest: list[ast.AST] = [*positionals, *left]
        result = self._values(tuple(x for x, _ in pairs), tuple(y for _, y in pairs), result)
        return replace(result, rests=(*result.rests, tuple(rest))) if result and takes_rest else result

    def same_code(self, first: ast.AST, second: ast.AST) -> bool:
        """Equal but for layout, every name being the same value."""
        left, right = list(ast.walk(first)), list(ast.walk(second))
        if ast.dump(first) != ast.dump(second):
            return False
        names = [(x, y) for x, y in zip(left, right, strict=True) if isinstance(x, ast.Name)]
        return all(self.source.versions.get(x, 0) == self.source.versions.get(y, 0) for x, y in names)


def _expression(statement: ast.stmt) -> ast.expr:
    assert isinstance(statement, (ast.Expr, ast.Return)) and statement.value is not None
    return statement.value


def _is_load(node: ast.expr) -> bool:
    return isinstance(getattr(node, "ctx", None), (ast.Load, type(None)))

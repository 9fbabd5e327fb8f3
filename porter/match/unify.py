"""Unify one node of a rule's `before` with one of the source; remember where a miss came closest.

Annotations, docstrings, comments, layout, parentheses, quotes and the order of keywords do not count. Parameters of
`before` stand for any expression, the same one wherever they occur; names it assigns are locals, matched up to one
consistent renaming of values (name and version, see `porter.tree.versions`). A global name is what its imports make of
it: `nn.Linear`, `torch.nn.Linear` and an imported `Linear` are one class. Everything else is literal.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import libcst as cst

from porter.match.arguments import pair_arguments
from porter.match.bindings import Bindings, Miss
from porter.match.imported import same_import
from porter.match.same import same_code, same_constant
from porter.match.spellings import OtherSpellings
from porter.rulebook import LoadedRule, Pattern
from porter.rulebook.identities import Spelling
from porter.tree import Function, Node, Statement, Tree
from porter.tree.fields import fields, texts
from porter.tree.functions import every_parameter, statements
from porter.tree.names import dotted, is_variable
from porter.tree.values import is_constant

IGNORED = frozenset({"annotation", "returns"})
# LibCST wraps one node in another where Python's own tree does not: wrappers are seen through.
_WRAPPED: dict[type, str] = {
    cst.Element: "value",
    cst.Index: "value",
    cst.SubscriptElement: "slice",
    cst.AssignTarget: "target",
    cst.Decorator: "decorator",
    cst.CompIf: "test",
}
_UNCOUNTED = (cst.ComparisonTarget, cst.DictElement, cst.Else, cst.Arg)


class Unifier:
    """Matches nodes of one pattern of one rule; keeps the deepest mismatch of all attempts in `miss`."""

    def __init__(
        self, rule: LoadedRule | None, pattern: Pattern, source: Tree, versions: Mapping[Node, int] | None = None
    ) -> None:
        self.pattern = pattern
        self.source = source
        self.versions = source.versions if versions is None else versions  # of the names in the source
        self.miss: Miss | None = None
        self.depth = 0
        self.matched, self.total = 0, 0  # statements of the pattern
        star = pattern.before.params.star_kwarg
        self.kwargs = star.name.value if star is not None else None
        self._attributes = frozenset(rule.declared.attributes if rule is not None else ())
        self._given = rule.given if rule is not None else {}
        self.others = OtherSpellings(rule, pattern, self._spelled)
        self._parameters: frozenset[str] = frozenset()  # of the function at hand: they hide globals of the same name

    def enter(self, function: Function) -> None:
        """Look at the code of another function from here on."""
        self._parameters = frozenset(every_parameter(function) - {"self"})

    def note(self, expected: Node, found: Node | None) -> None:
        """The attempt at hand ends here."""
        if self.miss is None or (self.matched, self.depth) > (self.miss.statements[0], self.miss.depth):
            self.miss = Miss(self.depth, self.pattern, expected, found, (self.matched, self.total))

    def unify(self, p: Node, s: Node, b: Bindings) -> Bindings | None:
        """The bindings, and what makes `p` equal to `s`; None where nothing does."""
        is_index = p.__class__ is cst.SubscriptElement  # there `...` is what Python means by it
        while type(p) is type(s) and (wrapped := _WRAPPED.get(type(p))) is not None:
            if getattr(p, "star", None) != getattr(s, "star", None):
                self.note(p, s)
                return None
            p, s = getattr(p, wrapped), getattr(s, wrapped)
        if p.__class__ is cst.Ellipsis and isinstance(s, cst.BaseExpression) and not is_index:
            return b
        p, s = self.resolved(p, s)
        depth = self.depth
        result = self._as_written(p, s, b)
        if result is None:
            for pairs in self.others.pairs(p, s, self.source):
                self.depth = depth
                result = self.all(pairs, b)
                if result is not None:
                    break
        return result

    def resolved(self, p: Node, s: Node) -> tuple[Node, Node]:
        """What is compared where values are, and not the steps to them."""
        return p, s

    def _spelled(self, spelling: Spelling, node: Node, tree: Tree) -> dict[str, cst.BaseExpression] | None:
        """What the identity's parameters stand for in `node`; None where that is no such spelling."""
        reader = self.reader(spelling, tree)
        reader._parameters = self._parameters if tree is self.source else frozenset()
        bound = reader.unify(spelling.expression, node, Bindings())
        return bound.metas if bound is not None else None

    def reader(self, spelling: Spelling, tree: Tree) -> Unifier:
        """What reads code of a tree, the pattern's or the source's, as a spelling."""
        return Unifier(None, spelling.identity, tree, self.versions_in(tree))

    def versions_in(self, tree: Tree) -> Mapping[Node, int]:
        """The versions of names in a tree: of a rule's file, those of the pattern are enough."""
        return self.versions if tree is self.source else self.pattern.versions

    def _as_written(self, p: Node, s: Node, b: Bindings) -> Bindings | None:
        if isinstance(p, cst.Assign) and isinstance(s, (cst.Assign, cst.AnnAssign)):
            result = self._assignment(p, s, b)
        elif isinstance(p, cst.Name) and is_variable(p) and isinstance(s, cst.BaseExpression):
            result = self._name(p, s, b)
        elif isinstance(p, cst.Attribute) and isinstance(s, (cst.Attribute, cst.Name)):
            result = self._attribute(p, s, b)
        elif isinstance(p, cst.Call) and isinstance(s, cst.Call):
            result = self._call(p, s, b)
        elif is_constant(p) and is_constant(s):
            result = b if same_constant(p, s) else None
        elif type(p) is not type(s):
            result = None
        else:
            return self._fields(p, s, b)  # the note is made at the field that differs
        if result is None:
            self.note(p, s)
        else:
            self.depth += 1
        return result

    def all(self, pairs: Iterable[tuple[Node, Node]], b: Bindings | None) -> Bindings | None:
        """Unify pair after pair."""
        for wanted, node in pairs:
            b = self.unify(wanted, node, b) if b is not None else None
        return b

    def block(self, wanted: Sequence[Statement], found: Sequence[Statement], b: Bindings) -> Bindings | None:
        """Unify the block of a compound statement: for who knows of statements to say."""
        raise NotImplementedError

    def _assignment(self, p: cst.Assign, s: cst.Assign | cst.AnnAssign, b: Bindings) -> Bindings | None:
        """The value before what it is bound to, annotated or not."""
        targets = [s.target] if isinstance(s, cst.AnnAssign) else [item.target for item in s.targets]
        if s.value is None or len(targets) != len(p.targets):
            return None
        return self.all([(p.value, s.value), *zip((item.target for item in p.targets), targets, strict=True)], b)

    def _fields(self, p: Node, s: Node, b: Bindings) -> Bindings | None:
        if texts(p) != texts(s):
            self.note(p, s)
            return None
        result: Bindings | None = b
        for name in fields(p.__class__):
            if name not in IGNORED and result is not None:
                result = self._field(p, s, getattr(p, name), getattr(s, name), result)
        if result is not None and not isinstance(p, _UNCOUNTED):
            self.depth += 1
        return result

    def _field(self, p: Node, s: Node, wanted: object, value: object, b: Bindings) -> Bindings | None:
        if isinstance(wanted, cst.BaseSuite) and isinstance(value, cst.BaseSuite):
            return self.block(statements(wanted), statements(value), b)
        if isinstance(wanted, Node) and isinstance(value, Node):
            return self.unify(wanted, value, b)
        if isinstance(wanted, (list, tuple)) and isinstance(value, (list, tuple)) and len(wanted) == len(value):
            return self.all(zip(wanted, value, strict=True), b)
        if isinstance(wanted, (list, tuple)) or wanted != value or type(wanted) is not type(value):
            self.note(p, s)
            return None
        return b

    def _name(self, p: cst.Name, s: cst.BaseExpression, b: Bindings) -> Bindings | None:
        version = self.pattern.versions.get(p, 0)
        if p.value in self.pattern.metavariables and version == 0:
            bound = b.metas.get(p.value)
            if bound is None:
                return replace(b, metas={**b.metas, p.value: s})
            return b if same_code(bound, s, self.versions) else None
        if version > 0 or p.value == self.kwargs:
            return self._local(p, version, s, b) if isinstance(s, cst.Name) and is_variable(s) else None
        if p.value in self._given:
            return self._relied(p, s, b)
        meant = self._same_import(p, s)
        if meant is not None:
            return b if meant else None
        is_same = isinstance(s, cst.Name) and s.value == p.value and self._is_global(s)
        return b if is_same and not self._hides_builtin(p) else None

    def _relied(self, p: cst.Name, s: cst.BaseExpression, b: Bindings) -> Bindings | None:
        """A function that the rule has a `given_*` of, by its name or by the same import: its body is asked later."""
        name = dotted(s)
        if name is None or not self._is_global(s) or b.relied.get(p.value, name) != name:
            return None
        if name != p.value and self.source.qualified(name) != self.pattern.meanings.get(p, name):
            return None
        return replace(b, relied={**b.relied, p.value: name})

    def _local(self, p: cst.Name, version: int, s: cst.Name, b: Bindings) -> Bindings | None:
        key, value = (p.value, version), (s.value, self.versions.get(s, 0))
        if key in b.locals:
            return b if b.locals[key] == value else None
        if value in b.locals.values() or b.names.get(p.value, s.value) != s.value:
            return None
        return replace(b, locals={**b.locals, key: value}, names={**b.names, p.value: s.value})

    def _attribute(self, p: cst.Attribute, s: cst.Attribute | cst.Name, b: Bindings) -> Bindings | None:
        if p.attr.value in self._attributes and isinstance(s, cst.Attribute):
            if b.attributes.get(p.attr.value, s.attr.value) != s.attr.value:
                return None
            b = replace(b, attributes={**b.attributes, p.attr.value: s.attr.value})
            return self.unify(p.value, s.value, b)
        meant = self._same_import(p, s)
        if meant is not None:
            return b if meant else None
        if isinstance(s, cst.Attribute) and s.attr.value == p.attr.value:
            return self.unify(p.value, s.value, b)
        return None

    def _same_import(self, p: Node, s: Node) -> bool | None:
        """Whether two global names mean the same by the imports of their files; None where that does not decide.

        What the rule imports and the source defines itself, or imports from elsewhere, is another thing.
        """
        wanted = self.pattern.meanings.get(p)
        name = dotted(s) if wanted is not None else None
        if wanted is None or name is None or not self._is_global(s):
            return None
        return same_import(self.source, name, wanted)

    def _hides_builtin(self, p: cst.Name) -> bool:
        """Whether a name that is Python's own in the rule is the source's own in the source."""
        is_builtin = hasattr(builtins, p.value) and not self.pattern.file.module_bindings[p.value]
        return is_builtin and bool(self.source.module_bindings[p.value])

    def _is_global(self, node: Node) -> bool:
        """Whether the name that a chain starts with is one of the module: neither assigned here nor a parameter."""
        while isinstance(node, cst.Attribute):
            node = node.value
        return isinstance(node, cst.Name) and self.versions.get(node, 0) == 0 and node.value not in self._parameters

    def _call(self, p: cst.Call, s: cst.Call, b: Bindings) -> Bindings | None:
        result = self.unify(p.func, s.func, b)
        paired = pair_arguments(p, s) if result is not None else None
        if result is None or paired is None:
            return None
        result = self.all([(one.value, other.value) for one, other in paired.pairs], result)
        return replace(result, rests=(*result.rests, paired.rest)) if result and paired.rest is not None else result

"""Unify two functions by what they compute: a value named first or written in place, steps in another order."""

from __future__ import annotations

from collections.abc import Mapping

import libcst as cst

from porter.match.bindings import Bindings, Match
from porter.match.blocks import BlockUnifier
from porter.match.unify import Unifier
from porter.rulebook.identities import Spelling
from porter.tree import Function, Node, Tree
from porter.tree.fields import walk
from porter.tree.functions import body_of
from porter.tree.names import is_variable
from porter.tree.straight import Straight


class ValueUnifier(BlockUnifier):
    """A unifier that looks through locals, while it compares values."""

    _values: tuple[Straight, Straight] | None = None  # of the pattern, of the function at hand

    def same_value(self, function: Function, start: Bindings) -> Match | None:
        """The whole of a function, where its value is the pattern's; what it binds can be said without its locals."""
        ours = self.pattern.straight
        theirs = self.source.straight(function) if ours is not None else None
        if ours is None or theirs is None:
            return None
        self.depth, self.matched, self._values = 0, 0, (ours, theirs)
        self.others.forget()  # what a node is a spelling of: its locals are looked through now
        bound = self.unify(ours.value, theirs.value, start)
        self._values = None
        if bound is None or any(self._names_a_local(node) for node in bound.metas.values()):
            return None
        return Match(self.pattern, function, bound, segments=(tuple(body_of(function)),))

    def resolved(self, p: Node, s: Node) -> tuple[Node, Node]:
        if self._values is None:
            return p, s
        ours, theirs = self._values
        return ours.resolved(p, self.pattern.versions), theirs.resolved(s, self.versions)

    def _local(self, p: cst.Name, version: int, s: cst.Name, b: Bindings) -> Bindings | None:
        if self._values is None:
            return super()._local(p, version, s, b)
        one, other = self._values[0].part(p, self.pattern.versions), self._values[1].part(s, self.versions)
        if one is None or other is None or (one.index, one.count) != (other.index, other.count):
            return None
        return self.unify(one.whole, other.whole, b)

    def reader(self, spelling: Spelling, tree: Tree) -> Unifier:
        if self._values is None:
            return super().reader(spelling, tree)
        straight = self._values[1 if tree is self.source else 0]
        return _Reader(spelling, tree, straight, self.versions_in(tree))

    def _names_a_local(self, root: Node) -> bool:
        return any(is_variable(node) and self.versions.get(node, 0) > 0 for node in walk(root))


class _Reader(Unifier):
    """Reads code as a spelling of one value, and looks through the locals of the function it stands in."""

    def __init__(self, spelling: Spelling, tree: Tree, straight: Straight, versions: Mapping[Node, int]) -> None:
        super().__init__(None, spelling.identity, tree, versions)
        self._straight = straight

    def resolved(self, p: Node, s: Node) -> tuple[Node, Node]:
        return p, self._straight.resolved(s, self.versions)

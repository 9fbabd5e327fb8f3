"""Unify runs of statements: one after the other, `...` taking as few as it can."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from porter.match.bindings import Bindings, Match
from porter.match.unify import Unifier
from porter.rulebook import LoadedRule, Pattern
from porter.rulebook.markers import is_gap
from porter.tree import Statement, Tree
from porter.tree.functions import body_of

Run = list[tuple[Statement, tuple[Statement, ...]]]  # a statement of the pattern, and what it stands for


class BlockUnifier(Unifier):
    """A unifier that knows of statements."""

    def __init__(self, rule: LoadedRule, pattern: Pattern, source: Tree) -> None:
        super().__init__(rule, pattern, source)
        self.body = body_of(pattern.before)
        self.total = sum(1 for statement in self.body if not is_gap(statement))

    def matches(self, block: Sequence[Statement], at: int, start: Bindings, *, whole: bool) -> Iterator[Match]:
        """Where the pattern's statements stand in a block from `at` on; `whole`: up to its end."""
        self.depth, self.matched = 0, 0
        for bindings, run in self._run(self.body, 0, block, at, start, whole):
            segments: list[list[Statement]] = [[]]
            gaps: list[tuple[Statement, ...]] = []
            for wanted, found in run:
                if is_gap(wanted):
                    gaps.append(found)
                    segments.append([])
                else:
                    segments[-1] += found
            yield Match(self.pattern, self.pattern.before, bindings, tuple(map(tuple, segments)), tuple(gaps))

    def block(self, wanted: Sequence[Statement], found: Sequence[Statement], b: Bindings) -> Bindings | None:
        """The block of a compound: what its `...` stands for is kept, to be written again."""
        for bindings, _ in self._run(wanted, 0, found, 0, b, whole=True, inner=True):
            return bindings
        return None

    def _run(
        self,
        pattern: Sequence[Statement],
        first: int,
        block: Sequence[Statement],
        at: int,
        bindings: Bindings,
        whole: bool,
        inner: bool = False,
    ) -> Iterator[tuple[Bindings, Run]]:
        """Match the pattern from its statement `first` on with the block from `at` on."""
        if first == len(pattern):
            if whole and at < len(block):
                self.note(self.pattern.before, block[at])
            else:
                yield bindings, []
            return
        head = pattern[first]
        if is_gap(head):
            for end in range(at, len(block) + 1):
                kept = replace(bindings, rests=(*bindings.rests, tuple(block[at:end]))) if inner else bindings
                for found, tail in self._run(pattern, first + 1, block, end, kept, whole, inner):
                    yield found, [(head, tuple(block[at:end])), *tail]
            return
        if at == len(block):
            self.note(head, None)
            return
        before = self.matched
        result = self.unify(head, block[at], bindings)
        if result is not None:
            self.matched = before + 1
            for found, tail in self._run(pattern, first + 1, block, at + 1, result, whole, inner):
                yield found, [(head, (block[at],)), *tail]
        self.matched = before

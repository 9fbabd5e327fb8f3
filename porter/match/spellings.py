"""Which other spellings of one value a piece of code is, by the identities of the rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import libcst as cst

from porter.rulebook import LoadedRule, Pattern
from porter.rulebook.identities import Spelling, form_of
from porter.tree import Node, Tree

# What the parameters of an identity stand for, when `node` of a tree is that spelling.
Bind = Callable[[Spelling, Node, Tree], "dict[str, cst.BaseExpression] | None"]


class OtherSpellings:
    """The identities that nodes of one pattern are spellings of; found when first asked for."""

    def __init__(self, rule: LoadedRule | None, pattern: Pattern, bind: Bind) -> None:
        self._by_form = rule.identities.by_form if rule is not None else {}
        self._pattern = pattern
        self._bind = bind
        self._known: dict[Node, list[tuple[dict[str, cst.BaseExpression], tuple[Spelling, ...]]]] = {}

    def forget(self) -> None:
        """Read the nodes of the pattern anew."""
        self._known.clear()

    def pairs(self, p: Node, s: Node, source: Tree) -> Iterator[list[tuple[Node, Node]]]:
        """For each way in which `p` and `s` may be one value: what of `p` must then be what of `s`."""
        known = self._known.get(p)
        if known is None:
            known = self._known[p] = list(self._spelled(p))
        form = form_of(s) if known else None
        for wanted, others in known:
            for other in others:
                found = self._bind(other, s, source) if other.form == form else None
                if found is not None:
                    yield [(wanted[name], found[name]) for name in wanted]

    def kinds(self, wanted: Node) -> set[type]:
        """Kinds of nodes that may be the value of a node of the pattern."""
        others = [other for _, others in self._by_form.get(form_of(wanted), ()) for other in others]
        return {type(wanted), *(type(other.expression) for other in others)}

    def _spelled(self, p: Node) -> Iterator[tuple[dict[str, cst.BaseExpression], tuple[Spelling, ...]]]:
        for spelling, others in self._by_form.get(form_of(p), ()):
            bound = self._bind(spelling, p, self._pattern.file)
            if bound is not None:
                yield bound, others

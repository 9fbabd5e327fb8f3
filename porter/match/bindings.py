"""What a match binds and what a miss remembers."""

from __future__ import annotations

from dataclasses import dataclass, field

import libcst as cst

from porter.rulebook import Pattern
from porter.tree import Function, Node, Statement


@dataclass(frozen=True)
class Bindings:
    """What a pattern's names stand for in the source.

    metas:      metavariable -> expression
    locals:     (pattern local, version) -> (source name, version)
    names:      pattern local -> source name
    attributes: attribute of the pattern that stands for any -> attribute of the source
    relied:     function that the rule has a `given_*` of -> the name it has in the source
    rests:      what each `...` argument list, and each `...` statement inside a compound, stands for, in order
    """

    metas: dict[str, cst.BaseExpression] = field(default_factory=dict)
    locals: dict[tuple[str, int], tuple[str, int]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)
    relied: dict[str, str] = field(default_factory=dict)
    rests: tuple[tuple[Node, ...], ...] = ()


@dataclass(frozen=True)
class Miss:
    """The furthest a pattern got: `depth` nodes agreed, then `expected` (in the rule) met `found` (in the source)."""

    depth: int
    pattern: Pattern
    expected: Node
    found: Node | None
    statements: tuple[int, int]


@dataclass(frozen=True)
class Match:
    """A pattern found: the statements of each segment (between top-level `...`), or the expressions."""

    pattern: Pattern
    function: Function
    bindings: Bindings
    segments: tuple[tuple[Statement, ...], ...] = ()
    gaps: tuple[tuple[Statement, ...], ...] = ()
    expressions: tuple[cst.BaseExpression, ...] = ()

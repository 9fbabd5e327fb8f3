"""What a match binds and what a miss remembers: the data that `match` hands on."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from porter.parse import Function
from porter.rule import Pattern


@dataclass(frozen=True)
class Bindings:
    """What a pattern's names stand for in the source.

    metas:     metavariable -> expression
    locals:    (pattern local, version) -> (source name, version)
    names:     pattern local -> source name
    rests:     what each `...` argument list, and each `...` statement inside a compound, stands for, in order
    """

    metas: dict[str, ast.expr] = field(default_factory=dict)
    locals: dict[tuple[str, int], tuple[str, int]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)
    rests: tuple[tuple[ast.AST, ...], ...] = ()


@dataclass(frozen=True)
class Miss:
    """The furthest a pattern got: `depth` nodes agreed, then `expected` (in the rule) met `found` (in the source)."""

    depth: int
    pattern: Pattern
    expected: ast.AST
    found: ast.AST | None
    statements: tuple[int, int]


@dataclass(frozen=True)
class Match:
    """A pattern found: the statements of each segment (between top-level `...`), or the expressions."""

    pattern: Pattern
    function: Function
    bindings: Bindings
    segments: tuple[tuple[ast.stmt, ...], ...] = ()
    gaps: tuple[tuple[ast.stmt, ...], ...] = ()
    expressions: tuple[ast.expr, ...] = ()

"""Spellings of one value, read from `shared/identities.py` of a folder of rules, for rules and sources alike.

A function `same_<value>` is one identity. Its parameters stand for any expression; each statement of its body is one
spelling of the same value, bit for bit, in every floating dtype.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import libcst as cst

from porter.diagnostics import Refused
from porter.rulebook.pattern import Pattern
from porter.rulebook.shared import SHARED, broken, read_rule_file
from porter.tree import Node, Tree
from porter.tree.fields import walk
from porter.tree.functions import body_of, parameter_names
from porter.tree.names import read_names, word_of

FILE = "identities.py"
_PREFIX = "same_"


Form = tuple[type, object]


def form_of(node: Node) -> Form:
    """What tells most expressions apart at a glance: the kind, and the operator or the last name of what is called."""
    kind = node.__class__
    if kind is cst.Call:
        func = node.func  # type: ignore[attr-defined]
        return kind, func.attr.value if isinstance(func, cst.Attribute) else getattr(func, "value", None)
    return kind, type(node.operator) if kind is cst.BinaryOperation else None  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Spelling:
    """One expression of an identity, with the identity's parameters in it; `others` are the identity's other ones."""

    identity: Pattern = field(repr=False)
    expression: cst.BaseExpression
    index: int

    @cached_property
    def form(self) -> Form:
        return form_of(self.expression)


@dataclass(frozen=True)
class Identities:
    """Every identity of a folder of rules: its spellings, in the order of the file.

    own: the text of the folder's own file, where porter's identities stand before those.
    """

    spellings: tuple[tuple[Spelling, ...], ...] = ()
    own: str = field(default="", repr=False)

    @cached_property
    def by_form(self) -> dict[Form, tuple[tuple[Spelling, tuple[Spelling, ...]], ...]]:
        """Form of a node -> each spelling of that form, with the other spellings of the same value."""
        found: dict[Form, list[tuple[Spelling, tuple[Spelling, ...]]]] = {}
        for alike in self.spellings:
            for spelling in alike:
                others = tuple(other for other in alike if other is not spelling)
                found.setdefault(spelling.form, []).append((spelling, others))
        return {form: tuple(items) for form, items in found.items()}

    @cached_property
    def dispensable(self) -> frozenset[str]:
        """Words of a spelling that another spelling of the same value is without."""
        found: set[str] = set()
        for alike in self.spellings:
            words = [set(filter(None, map(word_of, walk(spelling.expression)))) for spelling in alike]
            found |= set().union(*words) - words[0].intersection(*words)
        return frozenset(found)


def load_identities(rules: Path, base: Path | None = None) -> Identities | Refused:
    """The identities of a folder of rules, behind those of porter's own, `base`; none where it has no such file.

    Errors are P030, located in it.
    """
    known = load_identities(base) if base is not None else Identities()
    own = known if isinstance(known, Refused) else _load(rules)
    if isinstance(known, Refused) or isinstance(own, Refused):
        return own
    text = own.spellings[0][0].identity.file.text if base is not None and own.spellings else ""
    return Identities((*known.spellings, *own.spellings), text)


def _load(rules: Path) -> Identities | Refused:
    path = rules / SHARED / FILE
    if not path.is_file():
        return Identities()
    tree = read_rule_file(path, f"{rules.name}/{SHARED}/{FILE}")
    if isinstance(tree, Refused):
        return tree
    found = []
    for name, function in tree.functions.items():
        fault = _fault(name, function)
        if fault is not None:
            return broken(tree, function, fault)
        found.append(_spellings(tree, name, function))
    return Identities(tuple(found))


def _spellings(tree: Tree, name: str, function: cst.FunctionDef) -> tuple[Spelling, ...]:
    identity = Pattern(name, function, None, tree)
    values = [statement.value for statement in body_of(function) if isinstance(statement, cst.Expr)]
    return tuple(Spelling(identity, value, index) for index, value in enumerate(values))


def _fault(name: str, function: cst.FunctionDef) -> str | None:
    body = body_of(function)
    if not name.startswith(_PREFIX):
        return "a file of identities holds imports, `same_*` functions and their proofs, nothing else"
    if len(body) < 2 or not all(isinstance(statement, cst.Expr) for statement in body):
        return f"`{name}` needs two spellings at least, each an expression on a line of its own"
    for statement in body:
        if isinstance(statement.value, cst.Name):  # type: ignore[union-attr]
            return f"a spelling of `{name}` is a bare name: any expression would be one"
        lost = parameter_names(function) - read_names(statement)
        if lost:
            return f"a spelling of `{name}` does without `{min(lost)}`: what the others do with it would be lost"
    return None

"""Rules as loaded from their files: patterns, edits, conditions, and the trees they are parts of."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from porter.rule import Edit, Rule
from porter.rulebook.shared import Taken, is_of_rules
from porter.tree import Function, Tree
from porter.tree.functions import parameter_names
from porter.tree.imports import Import
from porter.tree.names import stored_names


@dataclass(frozen=True)
class Pattern:
    """One `before` and its `after`; None for a `given` and a `not`. `file` is where `before` stands."""

    name: str
    before: Function = field(compare=False, repr=False)
    after: Function | None = field(compare=False, repr=False)
    file: Tree = field(compare=False, repr=False)

    @cached_property
    def metavariables(self) -> frozenset[str]:
        """Parameters of `before`: each stands for an expression."""
        return frozenset(parameter_names(self.before) - {"self"})

    @cached_property
    def assigned(self) -> frozenset[str]:
        """Names that `before` assigns: its locals."""
        return frozenset(stored_names(self.before))

    @cached_property
    def place(self) -> str:
        """Where `before` stands, as messages name it: `rules/norm_rms.py:25`."""
        return f"{self.file.display}:{self.file.line(self.before)}"


@dataclass(frozen=True)
class LoadedEdit:
    edit: Edit
    patterns: tuple[Pattern, ...]


@dataclass(frozen=True)
class LoadedRule:
    """A rule and its file. `tree` holds its own functions, `taken` those of shared files."""

    name: str
    declared: Rule
    edits: tuple[LoadedEdit, ...]
    given: dict[str, tuple[Pattern, ...]]
    negatives: tuple[Pattern, ...]
    tree: Tree = field(compare=False, repr=False)
    taken: tuple[Taken, ...] = field(compare=False, repr=False)
    sha256: str
    document: str  # the rule's docstring: why, numerics, contract

    @property
    def summary(self) -> str:
        """The first line of the rule's docstring."""
        return self.document.split("\n")[0]

    @property
    def path(self) -> str:
        """The rule file as messages name it."""
        return self.tree.display

    @cached_property
    def imports(self) -> dict[str, Import]:
        """What an `after` may need: the file's imports, without what it takes from shared files."""
        return {n: i for n, i in self.tree.imports.items() if not is_of_rules(i.module, i.level)}

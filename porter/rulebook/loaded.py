"""Rules as loaded from their files: patterns, edits, conditions, and the trees they are parts of."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import libcst as cst

from porter.rule import Edit, Rule
from porter.rulebook.shared import Taken, is_of_rules
from porter.tree import Function, Node, Tree
from porter.tree.fields import walk
from porter.tree.functions import body_of, every_parameter, parameter_names
from porter.tree.imports import Import
from porter.tree.names import dotted, read_names, self_attribute, stored_nodes
from porter.tree.versions import number_names


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
    def _nodes(self) -> tuple[Node, ...]:
        return tuple(walk(self.before))

    @cached_property
    def _nodes_after(self) -> tuple[Node, ...]:
        return tuple(walk(self.after)) if self.after else ()

    @cached_property
    def stored(self) -> frozenset[Node]:
        """Nodes of either side that are bound."""
        return frozenset((*stored_nodes(self._nodes), *stored_nodes(self._nodes_after)))

    @cached_property
    def assigned(self) -> frozenset[str]:
        """Names that `before` assigns: its locals."""
        return frozenset(leaf.value for leaf in stored_nodes(self._nodes) if isinstance(leaf, cst.Name))

    @cached_property
    def assigned_after(self) -> frozenset[str]:
        """Names that `after` assigns, and those of its lambdas' parameters."""
        assigned = {leaf.value for leaf in stored_nodes(self._nodes_after) if isinstance(leaf, cst.Name)}
        lambdas = (node for node in self._nodes_after if isinstance(node, cst.Lambda))
        return frozenset(assigned.union(*map(every_parameter, lambdas)))

    @cached_property
    def named(self) -> frozenset[str]:
        """Every name of `before`."""
        return frozenset(node.value for node in self._nodes if isinstance(node, cst.Name))

    @cached_property
    def read_after(self) -> frozenset[str]:
        """Names that the statements of `after` read."""
        body = body_of(self.after) if self.after else ()
        return frozenset(name for statement in body for name in read_names(statement))

    @cached_property
    def attributes(self) -> tuple[frozenset[str], frozenset[str]]:
        """Attributes of `self` that `before` assigns, and those that `after` does."""
        before, after = (map(self_attribute, stored_nodes(nodes)) for nodes in (self._nodes, self._nodes_after))
        return frozenset(filter(None, before)), frozenset(filter(None, after))

    @cached_property
    def versions(self) -> dict[Node, int]:
        """The version of every `Name` of either side."""
        versions: dict[Node, int] = {}
        for side in (self.before, self.after):
            if side is not None:
                number_names(side, self.stored, versions)
        return versions

    @cached_property
    def meanings(self) -> dict[Node, str]:
        """Global names of `before`, and chains of attributes on them -> what they mean by the imports of their file."""
        own = self.metavariables | self.assigned
        found: dict[Node, str] = {}
        for node in self._nodes:
            name = dotted(node)
            meaning = self.file.qualified(name) if name and name.split(".")[0] not in own else None
            if meaning is not None:
                found[node] = meaning
        return found

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

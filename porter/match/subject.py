"""What is searched, and the places in it where an edit may apply."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import libcst as cst

from porter.anatomy import Anatomy, ConfigDefaults
from porter.anatomy.reach import with_functions
from porter.match.definitions import Definitions
from porter.match.found import Failure
from porter.rulebook import LoadedRule
from porter.source import Companion
from porter.tree import Function, Node, Tree
from porter.tree.functions import methods
from porter.tree.names import dotted


@dataclass(frozen=True)
class Place:
    """A function that an edit may change: its site's name, the class it belongs to, if any."""

    site: str
    owner: str | None
    function: Function


@dataclass(frozen=True)
class Subject:
    """One module to search. `failures` grows as rules miss."""

    tree: Tree
    anatomy: Anatomy
    defaults: ConfigDefaults
    kept: tuple[str, ...] = ()  # sites, classes or functions that stay as they are
    converted: frozenset[str] = frozenset()  # parameters that the source library makes out of others
    beside: tuple[Companion, ...] = ()  # files that the source takes along
    failures: list[Failure] = field(default_factory=list)
    first_reasons: dict[tuple[str, str], Failure] = field(default_factory=dict)  # by rule and site

    def places(self, site: str) -> list[Place]:
        """Where an edit for `site` may apply, in the order of the file."""
        found = self._places.get(site)
        if found is None:
            found = self._places[site] = self._find_places(site)
        return found

    @cached_property
    def made(self) -> dict[str, set[str | None]]:
        """Last name of what the module calls -> what that means by its imports: one class, where it is one thing."""
        found: dict[str, set[str | None]] = {}
        for node in self.tree.nodes(self.tree.module):
            name = dotted(node.func) if node.__class__ is cst.Call else None
            if name is not None:
                found.setdefault(name.rpartition(".")[2], set()).add(self.tree.qualified(name))
        return found

    @cached_property
    def names_reached(self) -> frozenset[str]:
        """Names and attributes in the code of the model, without its towers: of the classes and functions that the
        causal class reaches, and of what runs when the module is imported. What is imported has its own name too."""
        tree, roles = self.tree, self.anatomy.roles
        classes = (tree.classes[name] for name in self.anatomy.reached if roles.get(name) != "tower")
        at_import = (node for node in tree.statements if _runs_on_import(node))
        names: set[str] = set()
        for root in with_functions((*classes, *at_import), tree):
            for node in tree.nodes(root):
                if node.__class__ is cst.Attribute:
                    names.add(node.attr.value)
                elif node.__class__ is cst.Name and node.value not in names:
                    names.add(node.value)
                    names.update(item.name for item in tree.alternatives.get(node.value, ()) if item.name)
        return frozenset(names)

    @cached_property
    def definitions(self) -> Definitions:
        return Definitions(self.beside)

    @cached_property
    def relied(self) -> dict[tuple[object, ...], Any]:
        """What was found of functions that rules rely on: see `porter.match.relied`."""
        return {}

    @cached_property
    def _places(self) -> dict[str, list[Place]]:
        return {}

    def _find_places(self, site: str) -> list[Place]:
        functions = [Place(name, None, function) for name, function in self.tree.functions.items()]
        if site == "function":
            return functions
        role, _, method = site.partition(".")
        reached = set(self.anatomy.reached)
        found: list[Place] = []
        for name, node in self.tree.classes.items():
            if site == "*" and name in reached:
                found += [Place(f"{name}.{m}", name, function) for m, function in methods(node).items()]
            elif role == "*" or self.anatomy.roles.get(name) == role:
                function = methods(node).get(method)
                if function is not None:
                    found.append(Place(f"{name}.{method}", name, function))
        return [*found, *(place for place in functions if place.site in self.names_reached)] if site == "*" else found

    def is_kept(self, place: Place) -> bool:
        """Whether the place stays as the source has it, because the user said so."""
        return bool({place.site, place.owner, place.site.split(".")[0]} & set(self.kept))

    def fail(
        self, rule: LoadedRule, site: str, reason: str, node: Node | None = None, *, guarded: bool = False
    ) -> None:
        """A reason in words why a rule does not apply at a site."""
        failure = Failure(rule, site, None, reason, node, guarded)
        self.failures.append(failure)
        self.first_reasons.setdefault((rule.name, site), failure)

    def fail_everywhere(self, rule: LoadedRule, reason: str, skip: str = "") -> None:
        """The same reason at every place that the rule speaks of."""
        for loaded in rule.edits:
            if loaded.edit.unit != "expression":
                for place in self.places(loaded.edit.site):
                    if place.site != skip:
                        self.fail(rule, place.site, reason)


def _runs_on_import(node: Node) -> bool:
    """A statement of a module that is no definition and no import."""
    return not isinstance(node, (cst.FunctionDef, cst.ClassDef, cst.Import, cst.ImportFrom))

"""What is searched, and the places in it where an edit may apply."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import libcst as cst

from porter.anatomy import Anatomy, ConfigDefaults
from porter.anatomy.reach import with_functions
from porter.match.definitions import Definitions
from porter.match.found import Failure
from porter.rule import Edit
from porter.rulebook import LoadedRule
from porter.source import Companion
from porter.tree import Function, Node, Tree
from porter.tree.functions import methods
from porter.tree.names import dotted, word_of


@dataclass(frozen=True)
class Place:
    """A function that an edit may change: its site's name, the class it belongs to, if any."""

    site: str
    owner: str | None
    function: Function


def is_sparse(edit: Edit) -> bool:
    """Whether an edit of a module need not be everywhere: an expression, or one of the module's functions."""
    return edit.unit == "expression" or edit.site == "function"


@dataclass(frozen=True)
class Subject:
    """One module to search. `failures` grows as rules miss.

    Where `every` is false, a rule is tried only where the words of a pattern of it are, and not every failure is known.
    """

    tree: Tree
    anatomy: Anatomy
    defaults: ConfigDefaults
    kept: tuple[str, ...] = ()  # sites, classes or functions that stay as they are
    converted: frozenset[str] = frozenset()  # parameters that the source library makes out of others
    beside: tuple[Companion, ...] = ()  # files that the source takes along
    every: bool = True
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
        roots = with_functions((*classes, *at_import), tree)
        return frozenset(word for root in roots for word in _words(tree, root))

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

    def is_worth_trying(self, rule: LoadedRule) -> bool:
        """Whether the rule's edits may match somewhere, as far as words tell."""
        found = self._worth.get(rule.name)
        if found is None:
            found = self._worth[rule.name] = self.every or self._may_match(rule)
        return found

    def _may_match(self, rule: LoadedRule) -> bool:
        edits = rule.declared.edits
        may = [
            [self.may_hold(words, place.function) for place in self.places(edit.site)]
            for edit, words in zip(edits, rule.words, strict=True)
        ]
        if not rule.is_of_module:
            return all(map(any, may))
        sparse = map(is_sparse, edits)
        return any(map(any, may)) and all(some or all(there) for some, there in zip(sparse, may, strict=True))

    def may_hold(self, words: Iterable[frozenset[str]], function: Function) -> bool:
        """Whether all words of one of the patterns are in a function."""
        return self.every or any(pattern <= self._words_in(function) for pattern in words)

    def _words_in(self, function: Function) -> frozenset[str]:
        """Words in a function; what is imported has its own name too."""
        found = self._words.get(function)
        if found is None:
            found = self._words[function] = frozenset(_words(self.tree, function))
        return found

    @cached_property
    def _worth(self) -> dict[str, bool]:
        return {}

    @cached_property
    def _words(self) -> dict[Function, frozenset[str]]:
        return {}

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
        for edit in rule.declared.edits:
            if not is_sparse(edit):
                for place in self.places(edit.site):
                    if place.site != skip:
                        self.fail(rule, place.site, reason)


def _words(tree: Tree, root: Node) -> Iterator[str]:
    """Words in the code below a node; of a name that an import binds, what it imports too."""
    for node in tree.nodes(root):
        word = word_of(node)
        if word is not None:
            yield word
            if node.__class__ is cst.Name:
                yield from (item.name for item in tree.alternatives.get(word, ()) if item.name)


def _runs_on_import(node: Node) -> bool:
    """A statement of a module that is no definition and no import."""
    return not isinstance(node, (cst.FunctionDef, cst.ClassDef, cst.Import, cst.ImportFrom))

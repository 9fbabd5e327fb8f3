"""The form of a check: the first thing an application would change more than its rule says, in words and at a node."""

from __future__ import annotations

from dataclasses import dataclass

from porter.anatomy import Anatomy
from porter.match.found import Application, Hit
from porter.source import Companion
from porter.tree import Node, Tree

Found = tuple[str, Node | None] | None


@dataclass(frozen=True)
class Case:
    """What every check looks at: one hit of an application, in its module."""

    hit: Hit
    application: Application
    tree: Tree
    anatomy: Anatomy
    beside: tuple[Companion, ...] = ()

    @property
    def set_attributes(self) -> tuple[frozenset[str], frozenset[str]]:
        """Attributes of `self` that `before` sets, and those that `after` does, by the names that the source has."""
        return self.application.set_attributes(self.hit)

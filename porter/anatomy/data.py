"""What the anatomy of a module is made of: members of classes, roles, sites."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from porter.tree import Node


@dataclass(frozen=True)
class Member:
    """`self.<name> = ...` in a class: the classes it may be, and whether it is a list of them."""

    name: str
    classes: tuple[str, ...]
    is_list: bool


@dataclass(frozen=True)
class Site:
    """One function a rule may take: `LlamaAttention.forward`, or a module function.

    Of an unknown class without a `forward` of its own it is the class; of one that another file defines, the place
    where it is built.
    """

    name: str
    kind: str
    owner: str | None
    node: Node = field(compare=False, repr=False)


@dataclass(frozen=True)
class Anatomy:
    causal: str
    roles: dict[str, str]
    members: dict[str, dict[str, Member]]
    bases: dict[str, tuple[str, ...]]  # a class of this file by its name, any other by its dotted one
    reached: tuple[str, ...]  # classes of the file that the causal class builds or inherits, in order
    sites: tuple[Site, ...]
    unknown: dict[str, Node] = field(default_factory=dict, repr=False)  # classes without a role -> where each is built

    @cached_property
    def _derived(self) -> dict[str, list[str]]:
        """Class -> those that name it as a base."""
        derived: dict[str, list[str]] = {}
        for cls, bases in self.bases.items():
            for base in dict.fromkeys(bases):
                derived.setdefault(base, []).append(cls)
        return derived

    def subclasses(self, name: str) -> tuple[str, ...]:
        """Classes of the file derived from `name`, at any depth; never itself."""
        found: dict[str, None] = {}
        pending = self._derived.get(name, [])[::-1]
        while pending:
            cls = pending.pop()
            if cls != name and cls not in found:
                found[cls] = None
                pending += self._derived.get(cls, [])[::-1]
        return tuple(found)

    @cached_property
    def holders(self) -> dict[str, list[tuple[str, Member]]]:
        """Class -> who builds it: (the class, the member)."""
        found: dict[str, list[tuple[str, Member]]] = {}
        for cls, members in self.members.items():
            for member in members.values():
                for built in dict.fromkeys(member.classes):
                    found.setdefault(built, []).append((cls, member))
        return found

    def pretrained(self) -> tuple[str, ...]:
        """Classes derived from `PreTrainedModel` itself: the file's own base of its models."""
        own = "PreTrainedModel" in self.bases  # a class of this file by that name is not the library's
        return tuple(
            name
            for name, bases in self.bases.items()
            if any(is_pretrained(base) and not (own and base == "PreTrainedModel") for base in bases)
        )

    def of_role(self, role: str) -> tuple[str, ...]:
        """Classes of a role, in the order of the file."""
        return tuple(name for name, has in self.roles.items() if has == role)


def is_pretrained(base: str) -> bool:
    """Whether a base, by its dotted name, is the library's own class of models."""
    return base.split(".")[-1] == "PreTrainedModel"

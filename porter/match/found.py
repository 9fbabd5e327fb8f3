"""What matching finds: hits, whole applications of rules, and failures with their reasons."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from porter.match.bindings import Match, Miss
from porter.rule import Edit, Split
from porter.rulebook import LoadedRule, Merge
from porter.tree import Function, Node


@dataclass(frozen=True)
class Hit:
    """One edit's match in one function. `owner` is the class, None for a module function."""

    edit: Edit
    site: str
    owner: str | None
    match: Match

    @property
    def is_carried(self) -> bool:
        """Whether it replaces what makes a value that may only be passed on."""
        return bool(self.edit.carried and self.match.expressions)

    @cached_property
    def roots(self) -> frozenset[Node]:
        """The nodes this edit replaces: expressions, or statements."""
        return frozenset(self.match.expressions or (node for part in self.match.segments for node in part))

    @cached_property
    def holes(self) -> frozenset[Node]:
        """The nodes its metavariables and `...` bound: other rules may match inside them."""
        bindings = self.match.bindings
        return frozenset([*bindings.metas.values(), *(node for rest in bindings.rests for node in rest)])


@dataclass(frozen=True)
class Application:
    """One rule, applied once: all its hits."""

    rule: LoadedRule
    hits: tuple[Hit, ...]
    attributes: tuple[tuple[str, str], ...] = ()

    @property
    def sites(self) -> tuple[str, ...]:
        """Where its hits are, each place once."""
        return tuple(dict.fromkeys(hit.site for hit in self.hits))

    @property
    def merges(self) -> tuple[Merge, ...]:
        """What the rule merges, by the names that the source has for the parts."""
        names = dict(self.attributes)
        return tuple(
            (merged, tuple(names.get(part, part) for part in parts), sizes)
            for merged, parts, sizes in self.rule.merges
        )

    @property
    def splits(self) -> tuple[tuple[str, str, Split], ...]:
        """How ranks share what the changed classes hold: class, attribute by the name the source has, split."""
        names, splits = dict(self.attributes), self.rule.declared.splits
        found: dict[tuple[str, str], Split] = {}
        for hit in self.hits:
            if hit.owner and hit.edit.name == self.rule.declared.edits[0].name:
                for key in (key for key in splits if "__" not in key):
                    split = splits.get(f"{key}__{hit.match.pattern.variant}", splits[key])
                    found[hit.owner, names.get(key, key)] = split
        return tuple((owner, attribute, split) for (owner, attribute), split in found.items())

    def set_attributes(self, hit: Hit) -> tuple[frozenset[str], frozenset[str]]:
        """Attributes of `self` that a hit's `before` sets, and those that its `after` does, by the source's names."""
        names = dict(self.attributes) | hit.match.bindings.attributes
        before, after = hit.match.pattern.attributes
        return frozenset(names.get(name, name) for name in before), frozenset(names.get(name, name) for name in after)

    @property
    def unheeded(self) -> dict[str, frozenset[str]]:
        """Class -> what the source sets on its modules and the port does not, but for the parts of a merge."""
        parts = {part for _, parts, _ in self.merges for part in parts}
        found: dict[str, frozenset[str]] = {}
        for hit in self.hits:
            if hit.owner is None:
                continue
            before, after = self.set_attributes(hit)
            found[hit.owner] = found.get(hit.owner, frozenset()) | before - after - parts
        return {owner: names for owner, names in found.items() if names}

    @cached_property
    def roots(self) -> frozenset[Node]:
        """The nodes that all its hits replace."""
        return frozenset().union(*(hit.roots for hit in self.hits))

    @cached_property
    def makers(self) -> dict[Function, tuple[Node, ...]]:
        """Function -> what is replaced in it that makes values which may only be passed on."""
        found: dict[Function, tuple[Node, ...]] = {}
        for hit in self.hits:
            if hit.is_carried:
                function = hit.match.function
                found[function] = (*found.get(function, ()), *hit.match.expressions)
        return found


@dataclass(frozen=True)
class Failure:
    """Why a rule did not apply at a site: a miss (how far it came) or a reason in words; `guarded`: of a condition
    that another rule may not have, on the configuration's defaults or on a function that the code calls."""

    rule: LoadedRule
    site: str
    miss: Miss | None = None
    reason: str = ""
    node: Node | None = None
    guarded: bool = False


@dataclass(frozen=True)
class Findings:
    """All that a search found. `demanded` are applications of rules that others need; `verdicts` change nothing."""

    applications: tuple[Application, ...]
    verdicts: tuple[Application, ...]
    elsewhere: dict[str, LoadedRule]  # classes of PyTorch that a rule is about, by their last name
    demanded: tuple[Application, ...]
    failures: tuple[Failure, ...]

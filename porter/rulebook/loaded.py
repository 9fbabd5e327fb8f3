"""Rules as loaded from their files: what they declare, and their code, which is fetched when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property

from porter.diagnostics import Diagnostic, Refused, nearest
from porter.rule import Edit, Rule
from porter.rulebook.folders import RuleFolder
from porter.rulebook.identities import Identities
from porter.rulebook.ops import OpFile
from porter.rulebook.pattern import Pattern
from porter.rulebook.shared import SIDES, Taken, is_of_rules
from porter.tree import Tree
from porter.tree.imports import Import

Merge = tuple[str, tuple[str, ...], "str | None"]  # the linear that holds the rows, its parts, name of their sizes


@dataclass(frozen=True)
class LoadedEdit:
    edit: Edit
    patterns: tuple[Pattern, ...]
    words: tuple[frozenset[str], ...]  # for each pattern, what a function must hold for it to match there


@dataclass(frozen=True)
class Code:
    """The code of a rule. `tree` holds its own functions, `taken` those of shared files."""

    edits: tuple[LoadedEdit, ...]
    given: dict[str, tuple[Pattern, ...]]
    negatives: tuple[Pattern, ...]
    tree: Tree
    taken: tuple[Taken, ...]
    identities: Identities

    @property
    def is_verdict(self) -> bool:
        return all(pattern.after is None for loaded in self.edits for pattern in loaded.patterns)


@dataclass(frozen=True)
class LoadedRule:
    """A rule: what is known of it without its code, and `fetch`, which gives the code."""

    name: str
    declared: Rule
    path: str  # the rule file as messages name it
    sha256: str
    document: str  # the rule's docstring: why, numerics, contract
    is_verdict: bool  # whether it changes nothing: it says of code that it is right as it is
    words: tuple[tuple[frozenset[str], ...], ...]  # of each edit: see `LoadedEdit`
    fetch: Callable[[], Code] = field(compare=False, repr=False)
    folder: RuleFolder | None = field(default=None, compare=False)  # where it is from; None: it came with porter
    ops: tuple[OpFile, ...] = ()  # what its folder brings of the ops that it writes
    lacks: tuple[Diagnostic, ...] = ()  # of a rule that did not come with porter: see `porter.rulebook.unproved`

    @cached_property
    def code(self) -> Code:
        return self.fetch()

    @property
    def edits(self) -> tuple[LoadedEdit, ...]:
        return self.code.edits

    @property
    def given(self) -> dict[str, tuple[Pattern, ...]]:
        return self.code.given

    @property
    def tree(self) -> Tree:
        return self.code.tree

    @property
    def identities(self) -> Identities:
        return self.code.identities

    @property
    def summary(self) -> str:
        """The first line of the rule's docstring."""
        return self.document.split("\n")[0]

    @cached_property
    def needs(self) -> tuple[str, ...]:
        """The needs that it answers."""
        return self.needs_named or (self.name,)

    @property
    def needs_named(self) -> tuple[str, ...]:
        """The needs that its edits name."""
        return tuple(dict.fromkeys(need for edit in self.declared.edits for need in edit.answers))

    @cached_property
    def is_of_module(self) -> bool:
        """Whether its edits are at several kinds of classes: then they are everywhere, or nowhere."""
        return len({edit.site.partition(".")[0] for edit in self.declared.edits}) > 1

    @cached_property
    def carried(self) -> tuple[str, ...]:
        """Words in the names of parameters that take what its edits change."""
        return tuple(dict.fromkeys(word for edit in self.declared.edits for word in edit.carried))

    @cached_property
    def takers(self) -> tuple[str, ...]:
        """Kinds of classes that hold a changed one, and take what it returns."""
        lists = (kinds for edit in self.declared.edits for kinds in edit.returned.values())
        return tuple(dict.fromkeys(kind for kinds in lists for kind in kinds))

    @cached_property
    def merges(self) -> tuple[Merge, ...]:
        """What it merges, by the names that the patterns have for the parts."""
        set_after = {name for loaded in self.edits for pattern in loaded.patterns for name in pattern.attributes[1]}
        named = ((linear, parts, f"{linear}_sizes") for linear, parts in self.declared.merges.items())
        return tuple((linear, parts, sizes if sizes in set_after else None) for linear, parts, sizes in named)

    @cached_property
    def _befores(self) -> tuple[Pattern, ...]:
        """What the rule replaces, then what it only asks for."""
        given = (pattern for variants in self.given.values() for pattern in reversed(variants))
        return (*(pattern for loaded in self.edits for pattern in loaded.patterns), *given)

    @cached_property
    def demanded(self) -> tuple[str, ...]:
        """Functions with a `given_*` that no other code of the rule names: a module must define them by that name."""
        return tuple(name for name in self.given if not any(name in pattern.named for pattern in self._befores))

    @cached_property
    def relied(self) -> frozenset[str]:
        """Last names of what its code imports and names, of each `given_*`, of classes that it is kept from."""
        meant = (meaning.rpartition(".")[2] for pattern in self._befores for meaning in pattern.meanings.values())
        return frozenset([*meant, *self.given, *(name for name in self.declared.absent if name[0].isupper())])

    @cached_property
    def imports(self) -> dict[str, Import]:
        """What an `after` may need: imports of its file and of the shared ones, without what it takes from those."""
        shared = [each.file for each in self.code.taken if any(f.name.value.startswith(SIDES) for f in each.functions)]
        every = [item for file in (*shared, self.tree) for item in file.imports.items()]
        return {n: i for n, i in every if not is_of_rules(i.module, i.level)}


IDENTITIES = "identities"  # how they are named beside the rules, where something is proved


def names_to_prove(rules: tuple[LoadedRule, ...]) -> list[str]:
    """The rules by name, and the identities where there are any."""
    has_identities = any(rule.identities.spellings for rule in rules)
    return [*([IDENTITIES] if has_identities else ()), *(rule.name for rule in rules)]


def unknown_rule(names: Iterable[str], rules: tuple[LoadedRule, ...]) -> Refused | None:
    """P042 for the first name of what is to be proved that is none."""
    known = names_to_prove(rules)
    unknown = next((name for name in names if name not in known), None)
    if unknown is None:
        return None
    close = " or ".join(f"`{other}`" for other in nearest(unknown, known))
    help = f"did you mean {close}?" if close else "see `porter rules`"
    return Refused((Diagnostic("P042", f"no rule `{unknown}`", help=help),))

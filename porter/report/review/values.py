"""What a reviewer of a port is shown, as values: who did what where, and why. Text and pages are made elsewhere.

A block is one rule at one class or function, with all its hunks; rules that share lines share a block. What no
rule did has blocks of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from porter.emit.patch import DiffLine
from porter.report.review.drawing import Layer
from porter.report.review.figures import Figure


@dataclass(frozen=True)
class Reason:
    """What a rule says of itself, as `porter rule` shows it; empty where the rule is not known here."""

    rule: str
    summary: str = ""
    why: str = ""
    numerics: str = ""
    contract: str = ""
    proof: str = ""
    place: str = ""  # "rules/swiglu.py"
    drift: str = ""  # how it is not the rule that the port was made with
    kernels: str = ""  # what a layer costs without it, where that is recorded


@dataclass(frozen=True)
class Applied:
    """An entry of the account's `changes`: a rule in one stretch of the source."""

    rule: str
    site: str
    first: int
    last: int  # before `first`: an insertion

    @property
    def lines(self) -> str:
        if self.last < self.first:
            return f"before {self.first}"
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


@dataclass(frozen=True)
class Place:
    """All stretches of one rule at one site, those that touch as one: `158-159, 161`, `before 292`."""

    rule: str
    site: str
    line: int  # the first
    lines: str


@dataclass(frozen=True)
class Hunk:
    """Lines that differ, with some around them. `names` is who did it: (rule or part, site)."""

    anchor: str
    names: tuple[tuple[str, str], ...]
    lines: tuple[DiffLine, ...] = field(repr=False)

    @property
    def old(self) -> str:
        gone = _range([line.old for line in self.lines if line.mark == "-"])
        return gone or f"before {next((line.old for line in self._behind if line.old), 'the end')}"

    @property
    def new(self) -> str:
        return _range([line.new for line in self.lines if line.mark == "+"]) or "gone"

    @property
    def _behind(self) -> tuple[DiffLine, ...]:
        """From the first line on that differs."""
        first = next((number for number, line in enumerate(self.lines) if line.mark != " "), 0)
        return self.lines[first:]

    @property
    def at(self) -> int:
        """The first line of the source in it, or the one it comes after."""
        return next((line.old for line in self.lines if line.old is not None), 0)


@dataclass(frozen=True)
class Block:
    """`parts` is what of it no rule did; without `rules`, all of it."""

    number: int
    anchor: str
    rules: tuple[str, ...]
    parts: tuple[str, ...]
    sites: tuple[str, ...]
    hunks: tuple[Hunk, ...]
    applied: tuple[Applied, ...] = ()
    calls: tuple[tuple[str, str], ...] = ()  # of porter's runtime, in its lines of the port: (name, words)

    @property
    def title(self) -> str:
        return ", ".join(self.rules or self.parts)

    @property
    def places(self) -> tuple[Place, ...]:
        by_site: dict[tuple[str, str], list[Applied]] = {}
        for each in self.applied:
            by_site.setdefault((each.rule, each.site), []).append(each)
        joined = {key: _joined(stretches) for key, stretches in by_site.items()}
        return tuple(Place(*key, at[0].first, ", ".join(each.lines for each in at)) for key, at in joined.items())


@dataclass(frozen=True)
class SiteRow:
    """A site of the account, and the numbers of the blocks that changed it."""

    site: str
    kind: str
    line: int
    status: str
    rules: tuple[str, ...]
    reason: str
    blocks: tuple[int, ...]


@dataclass(frozen=True)
class Provenance:
    """What the port was made of, with what, and what of that was seen again."""

    source: str  # "transformers.models.llama.modeling_llama", or a path
    file: str
    release: str  # "transformers 5.23.0"
    sha256: str
    confirmed: bool  # the diff leads from the port back to a text with that hash
    porter: str
    porter_here: str
    command: str
    options: str


@dataclass(frozen=True)
class Edited:
    """Files that are not what porter wrote, and what was changed by hand in the modeling file, where that is known."""

    files: tuple[str, ...] = ()
    hunks: tuple[Hunk, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Review:
    """All of it. `old` and `new` are whole texts for highlighting, empty where the source's is not to be had."""

    name: str
    folder: str
    module: str  # "modeling_llama.py"
    entry: str  # "LlamaForCausalLM"
    provenance: Provenance
    reasons: dict[str, Reason]
    sites: tuple[SiteRow, ...]
    blocks: tuple[Block, ...]  # of rules, in the order of the file; then those of none
    unseen: tuple[Applied, ...]  # applications that left their lines as they were
    edited: Edited
    figures: tuple[Figure, ...]
    layer: Layer
    split: str
    old: str = field(default="", repr=False)
    new: str = field(default="", repr=False)

    @property
    def by_rules(self) -> tuple[Block, ...]:
        return tuple(block for block in self.blocks if block.rules)

    @property
    def by_none(self) -> tuple[Block, ...]:
        return tuple(block for block in self.blocks if not block.rules)

    def count(self, *statuses: str) -> int:
        """Sites of known classes that have one of these statuses."""
        return sum(row.status in statuses for row in self.sites if row.kind != "unknown")

    @property
    def unknown(self) -> int:
        return sum(row.kind == "unknown" for row in self.sites)


def _joined(stretches: Iterable[Applied]) -> list[Applied]:
    """Stretches in the order of their lines, those that touch as one."""
    found: list[Applied] = []
    for each in sorted(stretches, key=lambda each: (each.first, each.last)):
        if found and each.first <= found[-1].last + 1:
            last = found.pop()
            each = Applied(each.rule, each.site, last.first, max(last.last, each.last))
        found.append(each)
    return found


def _range(numbers: list[int | None]) -> str:
    known = [number for number in numbers if number is not None]
    if not known:
        return ""
    return str(known[0]) if known[0] == known[-1] else f"{known[0]}-{known[-1]}"

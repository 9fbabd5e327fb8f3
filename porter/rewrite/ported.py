"""What a conversion yields, before anything is written: the rewritten code and the account of how it came to be."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from porter.anatomy import SplitPoints
from porter.plan import SiteReport
from porter.rulebook import LoadedRule, OpFile
from porter.source import Source

# What no rule changed, by what it is. The file's header and its imports are no change of the list: they are the rest.
IMPORTS = "header and imports"
DECORATOR = "decorator"  # taken off, since it would send calls past the code below it
BASE_CLASS = "base class"  # and the attributes that say where the port came from, what it merges and splits
UNUSED = "unused"  # a definition that nothing uses any more
PARTS = (IMPORTS, DECORATOR, BASE_CLASS, UNUSED)


@dataclass(frozen=True)
class Change:
    """What one rule changed in one stretch, or what no rule did, in lines of the source."""

    rule: str | None  # "norm_rms"; None: no rule's doing, `part` says what it is
    site: str  # "LlamaRMSNorm.forward"
    start: int  # first line, from 1
    end: int  # last line, inclusive; end < start: an insertion before line `start`
    part: str = ""  # one of `PARTS`, where no rule did it


@dataclass(frozen=True)
class Ported:
    """A whole port. `code` lacks only the header that says where it came from."""

    source: Source
    name: str  # of the port: "llama2"
    causal_class: str  # "LlamaForCausalLM"
    code: str = field(repr=False)
    exports: tuple[str, ...]  # what `__all__` lists and the code defines; without it, the public classes
    changes: tuple[Change, ...]
    sites: tuple[SiteReport, ...]
    rules: tuple[tuple[str, str], ...]  # rule, sha256: see `porter.rulebook.shared.identity`
    split_points: SplitPoints | None
    options: dict[str, Any]  # keep, without, strict: as given
    own: tuple[LoadedRule, ...] = ()  # of the rules, those that did not come with porter

    @property
    def ops(self) -> tuple[OpFile, ...]:
        """The files of ops that those rules need: they go along. One name is one text: `porter.rulebook.clashes`."""
        return tuple({file.name: file for rule in self.own for file in rule.ops}.values())

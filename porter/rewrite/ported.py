"""What a conversion yields, before anything is written: the rewritten code and the account of how it came to be."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from porter.anatomy import SplitPoints
from porter.plan import SiteReport
from porter.rulebook import LoadedRule, OpFile
from porter.source import Source

FRAME = "frame"  # the "rule" of what no rule changed: imports, helpers swept because nothing uses them any more


@dataclass(frozen=True)
class Change:
    """One rule application, in lines of the source."""

    rule: str  # "norm_rms"
    site: str  # "LlamaRMSNorm.forward"
    start: int  # first line, from 1
    end: int  # last line, inclusive; end < start: an insertion before line `start`


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

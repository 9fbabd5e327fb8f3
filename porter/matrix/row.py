"""What is known of one model, as plain data; and in which respect one row is worse than another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

LEVELS = ("port", "parity", "variants", "capture", "lowering", "graph")  # each takes the ones before it for granted
WHOLE = ("ported", "verdict")  # statuses of a site that wants nothing more
GOOD = ("equal", "passed", "converts")  # outcomes of levels
_OUTCOMES = ("crashed", "refused", "converted")


@dataclass(frozen=True)
class Row:
    """One model. What was not asked for, or did not apply, is None."""

    model: str  # "llama"
    module: str  # "transformers.models.llama.modeling_llama"
    outcome: str = "crashed"  # "converted", "refused" or "crashed"
    sites: dict[str, dict[str, int]] = field(default_factory=dict)  # kind -> status -> how many
    open: dict[str, str] = field(default_factory=dict)  # sites that want more -> status
    refusal: dict[str, Any] | None = None  # code, message and place of the first of its reasons
    failure: dict[str, str] | None = None  # the level that gave no answer, and why
    parity: dict[str, Any] | None = None  # outcome, logits off by a share of their scale, tokens, ops
    variants: dict[str, Any] | None = None  # outcome, how many checks of how many configurations
    capture: dict[str, Any] | None = None  # outcome, graphs of each phase, recompiles, host reads
    lowering: dict[str, Any] | None = None  # outcome, kernels a layer of source and port by phase
    graph: dict[str, Any] | None = None  # outcome of the GE graphs executed, logits off by a share of their scale
    seconds: dict[str, float] = field(default_factory=dict)  # by level, of processors
    identity: dict[str, str] = field(default_factory=dict)  # by level: what its result hangs on

    @property
    def whole(self) -> bool:
        """Whether it is converted with nothing left, and nothing unknown."""
        return self.outcome == "converted" and not self.open

    def count(self, *statuses: str) -> int:
        """How many sites have one of these statuses; those of unknown classes count as `unknown` alone."""
        kinds = (counts for kind, counts in self.sites.items() if kind != "unknown")
        return sum(counts.get(status, 0) for counts in kinds for status in statuses)

    @property
    def unknown(self) -> int:
        """How many sites belong to classes that have no role."""
        return sum(self.sites.get("unknown", {}).values())

    @property
    def left(self) -> int:
        """How many sites want more: left, ported in part, or kept; without the unknown ones."""
        return self.count(*{status for counts in self.sites.values() for status in counts} - set(WHOLE))


def row_data(row: Row) -> dict[str, Any]:
    """A row for JSON: what is empty is left out, `whole` is said."""
    data = {name: value for name, value in asdict(row).items() if value not in (None, {})}
    return {"model": row.model, "whole": row.whole, **data}


def row_of(data: dict[str, Any]) -> Row:
    """The row that `row_data` told. Raises TypeError and KeyError for other data."""
    return Row(**{name: value for name, value in data.items() if name != "whole"})


def is_wrong(row: Row) -> bool:
    """Whether porter failed on the model, or made a port of it that computes something else."""
    compared = row.parity is not None and row.parity["outcome"] != "equal"
    executed = row.graph is not None and row.graph["outcome"] == "different"
    return row.failure is not None or compared or executed or row.outcome == "crashed"


def lacks(found: Row, known: Row, level: str) -> bool:
    """Whether a level was known of a row and is not any more, though it would still apply."""
    was = getattr(known, level, None) is not None
    return was and getattr(found, level) is None and found.failure is None and found.whole


def worse(found: Row, known: Row) -> tuple[str, ...]:
    """In which respects a row is worse than what was known of the same model; levels that it did not reach are none."""
    return tuple(_worse(found, known))


def _worse(found: Row, known: Row) -> Iterator[str]:
    if _OUTCOMES.index(found.outcome) < _OUTCOMES.index(known.outcome):
        yield f"was {known.outcome}, is {found.outcome}: {_why(found)}"
        return
    if found.failure is not None and known.failure is None:
        yield f"{found.failure['level']}: {found.failure['what']}"
    if known.outcome == "converted":
        yield from _worse_sites(found, known)
    for level in LEVELS[1:]:
        now, then = getattr(found, level), getattr(known, level)
        if now is not None and then is not None:
            yield from _worse_level(level, now, then)


def _why(row: Row) -> str:
    if row.failure is not None:
        return f"{row.failure['level']}: {row.failure['what']}"
    return f"[{row.refusal['code']}] {row.refusal['message']}" if row.refusal else "no reason is given"


def _listed(still_open: dict[str, str]) -> str:
    return ", ".join(f"{site} is {status}" for site, status in still_open.items())


def _worse_sites(found: Row, known: Row) -> Iterator[str]:
    if known.whole and not found.whole:
        yield f"was whole, is not: {_listed(found.open)}"
    for kind in {**known.sites, **found.sites}:
        now, then = (_answered(row.sites.get(kind, {})) for row in (found, known))
        if now[0] < then[0]:
            yield f"{kind}: {then[0]} sites were ported or had a verdict, {now[0]} now"
        if now[1] > then[1]:
            yield f"{kind}: {then[1]} sites were left, {now[1]} now"


def _answered(counts: dict[str, int]) -> tuple[int, int]:
    done = sum(counts.get(status, 0) for status in WHOLE)
    return done, sum(counts.values()) - done


def _worse_level(level: str, now: dict[str, Any], then: dict[str, Any]) -> Iterator[str]:
    if then["outcome"] in GOOD and now["outcome"] not in GOOD:
        yield f"{level}: was {then['outcome']}, is {now['outcome']}: {now.get('detail', '')}".rstrip(": ")
    for phase, kernels in then.get("kernels", {}).items():
        fewer, more = kernels.get("port"), now.get("kernels", {}).get(phase, {}).get("port")
        if fewer is not None and more is not None and more > fewer:
            yield f"{level}: {phase} had {fewer} kernels a layer, has {more}"
    for phase, lengths in then.get("lengths", {}).items():
        found = now.get("lengths", {}).get(phase, lengths)
        if _all_told(lengths) and not _all_told(found):
            said = f"tells {found['told']} of {found['attention']}"
            yield f"{level}: {phase} told every attention how much of the cache to read, {said}"


def _all_told(lengths: dict[str, int]) -> bool:
    return lengths["told"] == lengths["attention"]

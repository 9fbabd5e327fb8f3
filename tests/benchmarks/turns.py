"""Pieces of work, each beside its bare counterpart, measured in turns.

Contract: every run does all pairs in order, and a pair's two sides directly one behind the other, the bare one first in
every second run: a machine that is busy for a while slows both alike. A ratio is taken within a run.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, NamedTuple


class Pair(NamedTuple):
    """A piece of work and its bare counterpart, each giving its figure: seconds or megabytes."""

    name: str
    work: Callable[[], float]
    bare: Callable[[], float]
    limit: float | None = None  # of the ratio, or of the megabytes themselves
    megabytes: bool = False
    size: int = 1  # how many things the text holds, where that is what is asked


class Figures(NamedTuple):
    """What the runs gave, for the work and its bare counterpart."""

    work: list[float]
    bare: list[float]

    @property
    def ratios(self) -> list[float]:
        return [ours / theirs for ours, theirs in zip(self.work, self.bare, strict=True)]


def seconds(work: Callable[..., Any], *arguments: Any) -> float:
    """How long the work takes; what earlier work left to the collector is gone before it starts."""
    gc.collect()
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


def in_turns(pairs: Sequence[Pair], runs: int, *, warm: bool = True) -> list[tuple[Pair, Figures]]:
    """The figures of every pair, in order; what is timed is done once unmeasured before, if `warm`."""
    gc.collect()
    gc.freeze()  # what is there already, rules and libraries, is not for each side's collector to go through
    try:
        for pair in pairs if warm else ():
            if not pair.megabytes:
                pair.work(), pair.bare()
        found = [(pair, Figures([], [])) for pair in pairs]
        for run in range(runs):
            for pair, figures in found:
                _one_turn(pair, figures, bare_first=bool(run % 2))
        return found
    finally:
        gc.unfreeze()


def _one_turn(pair: Pair, figures: Figures, *, bare_first: bool) -> None:
    turns = [(pair.work, figures.work), (pair.bare, figures.bare)]
    for measured, into in turns[::-1] if bare_first else turns:
        into.append(measured())


def shown(figures: Sequence[float], scale: float = 1.0, digits: int = 2) -> tuple[str, str]:
    """The median, and the least and the greatest."""
    middle, low, high = (f"{scale * of(figures):,.{digits}f}" for of in (median, min, max))
    return middle, f"{low} .. {high}"

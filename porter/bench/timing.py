"""Two ways of doing the same work, timed in turns.

Contract: rounds alternate between the two and begin with either in turn, so that a machine that slows down or warms up
slows both. A figure is a median; a ratio is taken within a round and comes with the least and the greatest.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

Times = Mapping[str, float]  # phase -> milliseconds


@dataclass(frozen=True)
class Ratio:
    """One phase, the port against its source: milliseconds (medians of the rounds) and port / source of each round."""

    phase: str
    port_ms: float
    source_ms: float
    ratios: tuple[float, ...]

    @property
    def ratio(self) -> float:
        return median(self.ratios)

    @property
    def spread(self) -> tuple[float, float]:
        return min(self.ratios), max(self.ratios)


def in_turns(
    port: Callable[[], Times], source: Callable[[], Times], rounds: int, seconds: float = 0.0
) -> tuple[Ratio, ...]:
    """Run each once unmeasured, then `rounds` times in turns; one ratio for each phase they return.

    A turn is as many runs as fill `seconds`, one at least, and its times are their medians.
    """
    started = time.perf_counter()
    port(), source()
    runs = max(1, math.ceil(2.0 * seconds / (time.perf_counter() - started)))
    ours: list[Times] = []
    theirs: list[Times] = []
    for number in range(rounds):
        turns = [(port, ours), (source, theirs)]
        for run, into in turns if number % 2 == 0 else turns[::-1]:
            into.append(_medians([run() for _ in range(runs)]))
    return tuple(
        Ratio(
            phase,
            median(times[phase] for times in ours),
            median(times[phase] for times in theirs),
            tuple(our[phase] / their[phase] for our, their in zip(ours, theirs, strict=True)),
        )
        for phase in ours[0]
    )


def _medians(runs: Sequence[Times]) -> Times:
    return {phase: median(times[phase] for times in runs) for phase in runs[0]}

"""Two ways of doing the same work, timed in turns.

Contract: rounds alternate between the two and begin with either in turn, so that a machine that slows down or warms up
slows both. A figure is a median; a ratio is taken within a round and comes with the least and the greatest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


def in_turns(port: Callable[[], Times], source: Callable[[], Times], rounds: int) -> tuple[Ratio, ...]:
    """Run each once unmeasured, then `rounds` times in turns; one ratio for each phase they return."""
    port(), source()
    ours: list[Times] = []
    theirs: list[Times] = []
    for number in range(rounds):
        turns = [(port, ours), (source, theirs)]
        for run, into in turns if number % 2 == 0 else turns[::-1]:
            into.append(run())
    return tuple(
        Ratio(
            phase,
            median(times[phase] for times in ours),
            median(times[phase] for times in theirs),
            tuple(our[phase] / their[phase] for our, their in zip(ours, theirs, strict=True)),
        )
        for phase in ours[0]
    )

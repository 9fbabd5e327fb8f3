"""Which of the known names a mistyped one was meant to be."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """At most `count` known names close to `name`, closest first."""
    import difflib  # only an error needs it, and its import shows in the start-up time

    return difflib.get_close_matches(name, list(known), count, cutoff=0.6)

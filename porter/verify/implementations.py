"""Parity under the source's other attention implementation: its own eager function where it runs sdpa, or sdpa.

Contract: source and port are loaded anew with the same `attn_implementation`. A port with the fused kernel computes the
same whatever is asked for, so of a source whose two functions differ one of the comparisons fails.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from porter.verify import forward, generation
from porter.verify.finding import Measured
from porter.verify.pair import NotApplicable, Pair, load

IMPLEMENTATIONS = ("eager", "sdpa")


def other_implementation(source: Any) -> str | None:
    """The attention that a model of the source class does not run here, and could: None where there is none."""
    running = source.config._attn_implementation
    other = next(name for name in IMPLEMENTATIONS if name != running)
    return other if other == "eager" or getattr(source, "_supports_sdpa", False) else None


def otherwise(pair: Pair) -> Pair:
    """Both models from the same checkpoint, under the other implementation. Raises NotApplicable without one."""
    other = other_implementation(pair.source)
    if other is None:
        raise NotApplicable("the source has its eager attention only")
    source = load(type(pair.source), pair.folder, attn_implementation=other)
    return Pair(source, load(type(pair.port), pair.folder, attn_implementation=other), source.config, pair.folder)


def _asked(pair: Pair, check: Callable[[Pair], Measured]) -> Measured:
    other = otherwise(pair)
    found = check(other)
    detail = f"both under {other.config._attn_implementation}"
    return replace(found, detail=f"{detail}; {found.detail}" if found.detail else detail)


CHECKS: dict[str, Callable[[Pair], Measured]] = {
    "other attention: left padding: logits": partial(_asked, check=forward.padded_logits),
    "other attention: chunked prefill": partial(_asked, check=generation.chunked_prefill),
    "other attention: past the sliding window": partial(_asked, check=generation.past_the_window),
}

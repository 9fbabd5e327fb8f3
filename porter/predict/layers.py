"""Which layers of a model stand for all, and what these cost -> what all cost.

Contract: `found` is what a step or a model of the first shown layers has, counted: kernels, or bytes. A layer costs
what its kind's second coming adds, so that what its first coming brings once a step is counted once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeVar

Item = TypeVar("Item", bound=Hashable)


def numbered(signatures: Sequence[Any]) -> list[int]:
    """Equal ones by one number, in the order they come."""
    seen: dict[Any, int] = {}
    return [seen.setdefault(signature, len(seen)) for signature in signatures]


def shortest(kinds: Sequence[int]) -> list[int]:
    """The first two layers of each kind, one kind after the other."""
    return [index for kind in dict.fromkeys(kinds) for index in _comings(kinds, kind)]


def depths(kinds: Sequence[int]) -> list[int]:
    """How many of the first layers to lower, so that each kind's first and second coming are told from what is before:
    the first may bring what a step has once."""
    places = [index for kind in set(kinds) for index in _comings(kinds, kind) if index]
    return sorted({1} | {depth for index in places for depth in (index, index + 1)})


def _comings(kinds: Sequence[int], kind: int) -> list[int]:
    return [index for index, found in enumerate(kinds) if found == kind][:2]


def of_all_layers(kinds: Sequence[int], shown: Sequence[int], found: Mapping[int, Counter[Item]]) -> Counter[Item]:
    """`kinds`: a number for each layer, equal for those that are alike; `shown`: of those that stand for them, two of
    each kind that comes twice; `found` by how many of the shown there are, as `depths` wants it."""
    total = Counter(found[1])
    for kind, count in Counter(kinds).items():
        comings = [index for index, each in enumerate(shown) if each == kind]
        if comings[0]:
            _add(total, found, comings[0], 1)
        if count > 1:
            _add(total, found, comings[1], count - 1)
    return Counter({item: count for item, count in total.items() if count > 0})


def _add(total: Counter[Item], found: Mapping[int, Counter[Item]], layer: int, times: int) -> None:
    """Add what a layer adds to those before it; it may also take away, where the last layer has a kernel of its own."""
    for item in found[layer + 1].keys() | found[layer].keys():
        total[item] += times * (found[layer + 1][item] - found[layer][item])

"""GE nodes -> kernels: which nodes cost one, how many a decoder layer has, and what runs once a step.

Contract: plain data in and out; nothing is loaded. What a model with two layers has more than one with a single layer
is a layer; three against two must give the same, or the layers of this model differ and both are shown. Constants,
inputs, views, transposes of weights and what a converter makes of constants for arguments left out are no kernels;
everything else is one, also what an engine might still fuse or fold.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

VIEWS = frozenset(
    {"Data", "RefData", "Const", "ConstPlaceHolder", "Reshape", "Unsqueeze", "Squeeze", "Identity", "NetOutput"}
)


@dataclass(frozen=True)
class Place:
    """A line of the model's own file, and the line in a library that it led to."""

    line: str  # "modeling_llama.py:342"
    code: str = ""
    within: str = ""  # "masks.py:101" where the line called into another file


@dataclass(frozen=True)
class Unconverted:
    """The first op that stopped the conversion; `op` is empty where capture itself failed."""

    op: str
    reason: str
    place: Place | None


@dataclass(frozen=True)
class OnceAStep:
    """Kernels that a line of the model's file costs once a step."""

    place: Place
    kernels: dict[str, int]


@dataclass(frozen=True)
class Phase:
    """Prefill or decode of one model. `layers` has one entry where all layers cost the same."""

    name: str
    unconverted: Unconverted | None = None
    nodes: int = 0  # GE nodes of a layer
    layers: tuple[dict[str, int], ...] = ()  # kernels by type
    once: tuple[OnceAStep, ...] = ()

    @property
    def converts(self) -> bool:
        return self.unconverted is None

    @property
    def kernels(self) -> int:
        """Kernels of a layer; of the costliest, where they differ."""
        return max((sum(layer.values()) for layer in self.layers), default=0)

    @property
    def once_a_step(self) -> int:
        return sum(sum(entry.kernels.values()) for entry in self.once)


def is_kernel(node: dict[str, Any]) -> bool:
    return node["type"] not in VIEWS and not node["folded"]


def phase(name: str, graphs: list[list[dict[str, Any]]], file: str) -> Phase:
    """From the nodes of one, two and, to be sure, three layers; `file` is the model's own, whose lines are named."""
    kernels = [Counter(node["type"] for node in graph if is_kernel(node)) for graph in graphs]
    added = [_difference(more, less) for less, more in pairwise(kernels)]
    layers = tuple(layer for index, layer in enumerate(added) if layer not in added[:index])
    by_place = [_by_place(graph, file) for graph in graphs[:2]]
    once = []
    for place, there in by_place[0].items():
        a_layer = _difference(by_place[1].get(place, Counter()), there)
        left = {kind: count - a_layer.get(kind, 0) for kind, count in there.items() if count > a_layer.get(kind, 0)}
        if left:
            once.append(OnceAStep(place, left))
    return Phase(name, None, len(graphs[1]) - len(graphs[0]), layers, tuple(once))


def unconverted(failure: dict[str, Any], file: str) -> Unconverted:
    place = place_of(failure["frames"], file)
    return Unconverted(failure["op"], failure["reason"], place if place.line else None)


def _difference(more: Counter[str], less: Counter[str]) -> dict[str, int]:
    return {kind: more[kind] - less[kind] for kind in more if more[kind] != less[kind]}


def _by_place(graph: list[dict[str, Any]], file: str) -> dict[Place, Counter[str]]:
    places: dict[Place, Counter[str]] = {}
    for node in graph:
        if is_kernel(node):
            places.setdefault(place_of(node["frames"], file, deep=False), Counter())[node["type"]] += 1
    return places


def place_of(frames: list[list[Any]], file: str, *, deep: bool = True) -> Place:
    """The innermost line in `file`; with `deep` also where it led."""
    own = [line for path, line in frames if path == file]
    if not own:
        path, line = frames[-1] if frames else ("", 0)
        return Place(f"{_name(path)}:{line}" if path else "", _code(path, line))
    path, line = frames[-1]
    within = f"{_name(path)}:{line}" if deep and path != file else ""
    return Place(f"{_name(file)}:{own[-1]}", _code(file, own[-1]), within)


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _code(path: str, line: int) -> str:
    import linecache

    return linecache.getline(path, line).strip()

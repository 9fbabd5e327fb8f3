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

Node = dict[str, Any]  # of a GE graph: type, folded, the op it was made of, frames
_FUSED, _PRODUCTS = ("npu.", "air."), ("MatMul", "BatchMatMul")
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
class Line:
    """Kernels that a line of the model's file costs."""

    place: Place
    kernels: dict[str, int]

    @property
    def count(self) -> int:
        return sum(self.kernels.values())


@dataclass(frozen=True)
class Phase:
    """Prefill or decode of one model. `layers` has one entry where all layers cost the same."""

    name: str
    unconverted: Unconverted | None = None
    nodes: int = 0  # GE nodes of a layer
    layers: tuple[dict[str, int], ...] = ()  # kernels by type
    once: tuple[Line, ...] = ()  # a step
    attention: int = 0  # fused attention kernels of all layers
    with_lengths: int = 0  # those of them that are told how much of the KV cache to read
    beside: tuple[Line, ...] = ()  # of the costliest layer: what is neither a fused op's nor a product

    @property
    def converts(self) -> bool:
        return self.unconverted is None

    @property
    def kernels(self) -> int:
        """Kernels of a layer; of the costliest, where they differ."""
        return max((sum(layer.values()) for layer in self.layers), default=0)

    @property
    def once_a_step(self) -> int:
        return sum(line.count for line in self.once)

    @property
    def implied(self) -> int:
        """Kernels of that layer that are fused ops' or products."""
        return self.kernels - sum(line.count for line in self.beside)


def is_kernel(node: Node) -> bool:
    return node["type"] not in VIEWS and not node["folded"]


def phase(name: str, graphs: list[list[Node]], file: str) -> Phase:
    """From the nodes of one, two and, to be sure, three layers; `file` is the model's own, whose lines are named."""
    kernels = [Counter(node["type"] for node in graph if is_kernel(node)) for graph in graphs]
    added = [_difference(more, less) for less, more in pairwise(kernels)]
    layers = tuple(layer for index, layer in enumerate(added) if layer not in added[:index])
    attention = [node["op"] for node in graphs[-1] if node["type"] == "FusedInferAttentionScore"]
    costliest = max(range(len(added)), key=lambda index: sum(added[index].values()))
    return Phase(
        name,
        None,
        len(graphs[1]) - len(graphs[0]),
        layers,
        _once(graphs[0], graphs[1], file),
        len(attention),
        sum(op.startswith("air.") for op in attention),
        _beside(graphs[costliest], graphs[costliest + 1], file),
    )


def _once(less: list[Node], more: list[Node], file: str) -> tuple[Line, ...]:
    """What a graph has that another one of one layer more has not more of."""
    found = []
    by_place = _by_place(more, file)
    for place, there in _by_place(less, file).items():
        a_layer = _difference(by_place.get(place, Counter()), there)
        left = {kind: count - a_layer.get(kind, 0) for kind, count in there.items() if count > a_layer.get(kind, 0)}
        if left:
            found.append(Line(place, left))
    return tuple(found)


def _beside(less: list[Node], more: list[Node], file: str) -> tuple[Line, ...]:
    """What one layer more adds beside the nodes of fused ops and products."""
    known, there = (_by_place([node for node in graph if not _is_implied(node)], file) for graph in (less, more))
    added = {place: _difference(kernels, known.get(place, Counter())) for place, kernels in there.items()}
    return tuple(Line(place, kernels) for place, kernels in added.items() if any(kernels.values()))


def _is_implied(node: Node) -> bool:
    return node["op"].startswith(_FUSED) or node["type"].startswith(_PRODUCTS)


def unconverted(failure: dict[str, Any], file: str) -> Unconverted:
    place = place_of(failure["frames"], file)
    return Unconverted(failure["op"], failure["reason"], place if place.line else None)


def _difference(more: Counter[str], less: Counter[str]) -> dict[str, int]:
    return {kind: more[kind] - less[kind] for kind in more if more[kind] != less[kind]}


def _by_place(graph: list[Node], file: str) -> dict[Place, Counter[str]]:
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

"""The nodes of a step's graph -> its kernels: bytes that each moves, multiply-adds, bytes that it sums over ranks.

Contract: plain data in and out. A kernel reads each of its tensors once and writes its results; lookups and slices read
what they give, writes in place move what they write, and grouped products read the experts that tokens are likely to
choose (`experts_touched`). Only matrix products and attention are counted as arithmetic. No kernels are those that
`lowering` counts as none, what the engine computes once because it is made of constants, and casts to the same type.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from porter.predict.products import flops_of
from porter.predict.tensors import Shape, bytes_of, count_of, first_of, guessed, same_type, shape_of

_CONSTANTS = frozenset({"Const", "ConstPlaceHolder"})
_WRITE_IN_PLACE = ("Scatter", "Assign", "InplaceUpdate", "IndexPut", "StridedSliceAssign")
_READ_WHAT_THEY_GIVE = ("Gather", "StridedSlice", "Slice", "Split", "IndexByTensor", "Embedding")
_READ_NOTHING = ("Fill", "ZerosLike", "OnesLike", "Shape", "Range", "Empty")
ALL_REDUCE, FUSED_ALL_REDUCE = "HcomAllReduce", "MatmulAllReduce"


@dataclass(frozen=True)
class Kernel:
    """One kernel of a step. `bytes`: read and written in a card's memory; `flops`: two for each multiply-add of a
    matrix product; `summed`: bytes of the tensor that it sums over ranks."""

    kind: str
    bytes: int = 0
    flops: int = 0
    summed: int = 0


@dataclass(frozen=True)
class Share:
    """What a rank has of a model, beside its graph: which modules are summed, which weight makes logits, bytes of a
    token's hidden state, tokens of the step. `fused`: products summed by one kernel, as npu_mm_all_reduce_base does."""

    ranks: int
    tokens: int
    row: int
    head: str
    summed: tuple[str, ...] = ()
    fused: bool = False


def experts_touched(tokens: int, chosen: float, experts: int) -> float:
    """How many of `experts` at least one of `tokens` chooses, expected where each chooses `chosen` of them evenly:
    E (1 - (1 - k/E)^t)."""
    return experts * (1 - (1 - min(1.0, chosen / experts)) ** tokens)


def kernels_of(nodes: Iterable[Mapping[str, Any]], share: Share) -> Counter[Kernel]:
    """Each kernel of a step, with how often it comes."""
    graph = _Graph(share)
    for node in nodes:
        graph.add(node)
    return graph.kernels()


class _Graph:
    """The nodes so far: shapes of tensors, which of them are constants, which are weights."""

    def __init__(self, share: Share) -> None:
        self._share = share
        self._shapes: dict[str, Shape | None] = {}
        self._constant: set[str] = set()
        self._weights: dict[str, str] = {}
        self._found: list[tuple[Kernel, str, int]] = []  # with the weight that a product reads, and bytes it gives

    def add(self, node: Mapping[str, Any]) -> None:
        inputs = [(name, tensor) for name, tensor in node["inputs"] if tensor]
        names = [f"{node['name']}:{index}" for index in range(max(1, len(node["outputs"])))]
        given = [self._shapes.get(tensor) for _, tensor in inputs]
        said = [shape_of(output) for output in node["outputs"]] or [None]
        for name, shape in zip(names, said, strict=True):
            self._shapes[name] = shape or guessed(given)
        if node["type"] in _CONSTANTS or (inputs and all(tensor in self._constant for _, tensor in inputs)):
            self._constant.update(names)
            return
        if not node["kernel"]:
            own = node.get("weight") or next((self._weights[t] for _, t in inputs if t in self._weights), "")
            self._weights.update(dict.fromkeys(names, own) if own else {})
            return
        outputs = [self._shapes[name] for name in names]
        if node["type"] == "Cast" and same_type(given[0], outputs[0]):
            return
        moving = {tensor: self._shapes.get(tensor) for _, tensor in inputs if tensor not in self._constant}
        read = next((self._weights[tensor] for tensor in moving if tensor in self._weights), "")
        self._found.append((self._kernel(node, inputs, moving, outputs), read, bytes_of(outputs[0])))

    def _kernel(
        self,
        node: Mapping[str, Any],
        inputs: list[tuple[str, str]],
        moving: Mapping[str, Shape | None],
        outputs: list[Shape | None],
    ) -> Kernel:
        kind, by_name = node["type"], {name: self._shapes.get(tensor) for name, tensor in inputs}
        written, read = sum(map(bytes_of, outputs)), sum(map(bytes_of, moving.values()))
        if kind.startswith(_WRITE_IN_PLACE):
            put = min((bytes_of(shape) for shape in moving.values() if count_of(shape) > 1), default=0)
            put = bytes_of(by_name.get("updates") or by_name.get("value")) or put
            return Kernel(kind, 2 * put)
        if kind.startswith(_READ_WHAT_THEY_GIVE):
            index = bytes_of(by_name.get("indices"))
            return Kernel(kind, 2 * written + index)
        if kind.startswith(_READ_NOTHING):
            return Kernel(kind, written)
        if kind.startswith("GroupedMatmul"):
            return self._grouped(kind, by_name, moving, outputs)
        return Kernel(kind, read + written, flops_of(node, by_name, outputs))

    def _grouped(
        self, kind: str, by_name: Mapping[str, Shape | None], moving: Mapping[str, Shape | None], outputs: Any
    ) -> Kernel:
        """x (rows, K), weight (E, K, N), out (rows, N)."""
        rows = first_of(by_name, "x")
        weight = first_of(by_name, "weight")
        if rows is None or weight is None or not rows[0] or len(weight[0]) != 3:
            return Kernel(kind, sum(map(bytes_of, moving.values())) + sum(map(bytes_of, outputs)))
        count, experts = rows[0][0], weight[0][0]
        touched = experts_touched(self._share.tokens, count / max(1, self._share.tokens), experts)
        read = bytes_of(rows) + math.ceil(bytes_of(weight) * touched / experts)
        made = sum(map(bytes_of, outputs))
        flops = 2 * count_of(rows) * count_of(outputs[0]) // count
        return Kernel(kind, read + made, flops)

    def kernels(self) -> Counter[Kernel]:
        share, made = self._share, Counter[Kernel]()
        state, fused = share.tokens * share.row, 0
        linears = {f"{path}.weight" for path in share.summed}
        for kernel, weight, given in self._found:
            if weight and weight == share.head and kernel.flops and share.ranks > 1:
                cut = Kernel(kernel.kind, kernel.bytes // share.ranks, kernel.flops // share.ranks)
                made[cut] += 1
                made[Kernel(ALL_REDUCE, summed=given)] += 1
            elif share.fused and weight in linears and kernel.flops:
                made[Kernel(FUSED_ALL_REDUCE, kernel.bytes, kernel.flops, state)] += 1
                fused += 1
            else:
                made[kernel] += 1
        if len(share.summed) > fused:
            made[Kernel(ALL_REDUCE, summed=state)] += len(share.summed) - fused
        return made

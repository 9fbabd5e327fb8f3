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

Shape = tuple[tuple[int, ...], str]  # sizes and data type

_CONSTANTS = frozenset({"Const", "ConstPlaceHolder"})
_READ_WHAT_THEY_GIVE = ("Gather", "StridedSlice", "Slice", "Split", "IndexByTensor", "Index")
_WRITE_IN_PLACE = ("Scatter", "Assign", "InplaceUpdate")
_READ_NOTHING = ("Fill", "ZerosLike", "OnesLike", "Shape", "Range", "Empty")
_ITEMS = {
    **dict.fromkeys(("float64", "int64", "uint64", "DT_DOUBLE", "DT_INT64", "DT_UINT64"), 8),
    **dict.fromkeys(("float32", "int32", "uint32", "DT_FLOAT", "DT_INT32", "DT_UINT32"), 4),
    **dict.fromkeys(("float16", "bfloat16", "int16", "uint16", "DT_FLOAT16", "DT_BF16", "DT_INT16", "DT_UINT16"), 2),
}
_LENGTH_AT = {"BSND": 1, "BNSD": 2, "BSH": 1}
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
        said = [_shape(output) for output in node["outputs"]] or [None]
        for name, shape in zip(names, said, strict=True):
            self._shapes[name] = shape or _guessed(given)
        if node["type"] in _CONSTANTS or (inputs and all(tensor in self._constant for _, tensor in inputs)):
            self._constant.update(names)
            return
        if not node["kernel"]:
            own = node.get("weight") or next((self._weights[t] for _, t in inputs if t in self._weights), "")
            self._weights.update(dict.fromkeys(names, own) if own else {})
            return
        outputs = [self._shapes[name] for name in names]
        if node["type"] == "Cast" and _same_type(given[0], outputs[0]):
            return
        moving = {tensor: self._shapes.get(tensor) for _, tensor in inputs if tensor not in self._constant}
        read = next((self._weights[tensor] for tensor in moving if tensor in self._weights), "")
        self._found.append((self._kernel(node, inputs, moving, outputs), read, _bytes(outputs[0])))

    def _kernel(
        self,
        node: Mapping[str, Any],
        inputs: list[tuple[str, str]],
        moving: Mapping[str, Shape | None],
        outputs: list[Shape | None],
    ) -> Kernel:
        kind, by_name = node["type"], {name: self._shapes.get(tensor) for name, tensor in inputs}
        written, read = sum(map(_bytes, outputs)), sum(map(_bytes, moving.values()))
        if kind.startswith(_READ_WHAT_THEY_GIVE):
            index = _bytes(by_name.get("indices"))
            return Kernel(kind, 2 * written + index)
        if kind.startswith(_WRITE_IN_PLACE):
            put = min((_bytes(shape) for shape in moving.values() if _count(shape) > 1), default=0)
            put = _bytes(by_name.get("updates") or by_name.get("value")) or put
            return Kernel(kind, 2 * put)
        if kind.startswith(_READ_NOTHING):
            return Kernel(kind, written)
        if kind.startswith("GroupedMatmul"):
            return self._grouped(kind, by_name, moving, outputs)
        return Kernel(kind, read + written, _flops(node, by_name, outputs))

    def _grouped(
        self, kind: str, by_name: Mapping[str, Shape | None], moving: Mapping[str, Shape | None], outputs: Any
    ) -> Kernel:
        """x (rows, K), weight (E, K, N), out (rows, N)."""
        rows = _first(by_name, "x")
        weight = _first(by_name, "weight")
        if rows is None or weight is None or not rows[0] or len(weight[0]) != 3:
            return Kernel(kind, sum(map(_bytes, moving.values())) + sum(map(_bytes, outputs)))
        count, experts = rows[0][0], weight[0][0]
        touched = experts_touched(self._share.tokens, count / max(1, self._share.tokens), experts)
        read = _bytes(rows) + math.ceil(_bytes(weight) * touched / experts)
        made = sum(map(_bytes, outputs))
        flops = 2 * _count(rows) * _count(outputs[0]) // count
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


def _flops(node: Mapping[str, Any], by_name: Mapping[str, Shape | None], outputs: list[Shape | None]) -> int:
    kind, made = node["type"], outputs[0]
    if made is None:
        return 0
    if kind.startswith("FusedInferAttentionScore"):
        return _attention(node["attributes"], by_name, made)
    left, right = by_name.get("x1"), by_name.get("x2")
    if not kind.startswith(("MatMul", "BatchMatMul", "Matmul")) or left is None or right is None:
        return 0
    batch = math.prod(right[0][:-2]) if kind.startswith("BatchMatMul") else 1
    # (b, M, K) by (b, K, N) gives (b, M, N): views in between may have changed all shapes but not the counts
    inner = math.isqrt(_count(left) * _count(right) // max(1, _count(made) * batch))
    return 2 * _count(made) * inner


def _attention(attributes: Mapping[str, Any], by_name: Mapping[str, Shape | None], made: Shape) -> int:
    """Scores and their product with the values, over all slots: a mask skips nothing here."""
    keys = _first(by_name, "key")
    if keys is None:
        return 0
    place = _LENGTH_AT.get(str(attributes.get("input_layout", "BSND")).partition("_")[0], 1)
    length = keys[0][place]
    queries = _count(by_name.get("query")) + _count(by_name.get("query_rope"))
    return 2 * length * (queries + _count(made))


def _first(by_name: Mapping[str, Shape | None], stem: str) -> Shape | None:
    """An input, or the first of a list of them: `key0`."""
    return by_name.get(stem) or by_name.get(f"{stem}0")


def _guessed(given: list[Shape | None]) -> Shape | None:
    """Of an elementwise kernel in the middle of a conversion: the largest of its inputs, in the widest type."""
    known = [shape for shape in given if shape is not None]
    if not known:
        return None
    return max(known, key=_count)[0], max(known, key=_item)[1]


def _shape(said: Any) -> Shape | None:
    return None if said is None else (tuple(said[0]), said[1])


def _count(shape: Shape | None) -> int:
    return 0 if shape is None else math.prod(shape[0])


def _item(shape: Shape) -> int:
    return _ITEMS.get(shape[1], 1)


def _same_type(one: Shape | None, other: Shape | None) -> bool:
    """As far as descriptions, which name types in two ways, tell: a step has one half precision."""
    if one is None or other is None:
        return False
    return _item(one) == _item(other) and _is_float(one) == _is_float(other)


def _is_float(shape: Shape) -> bool:
    return "float" in shape[1].lower() or shape[1] in ("DT_BF16", "DT_DOUBLE")


def _bytes(shape: Shape | None) -> int:
    return 0 if shape is None else _count(shape) * _item(shape)

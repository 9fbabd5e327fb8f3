"""How many operations a matrix product or an attention of a graph is: two for each multiply-add, none for all else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from porter.predict.tensors import Shape, count_of, first_of

_LENGTH_AT = {"BSND": 1, "BNSD": 2, "BSH": 1}


def flops_of(node: Mapping[str, Any], by_name: Mapping[str, Shape | None], outputs: list[Shape | None]) -> int:
    kind, made = node["type"], outputs[0]
    if made is None:
        return 0
    if kind.startswith("FusedInferAttentionScore"):
        return _attention(node["attributes"], by_name, made)
    left, right = by_name.get("x1"), by_name.get("x2")
    if not kind.startswith(("MatMul", "BatchMatMul", "Matmul")) or left is None or right is None:
        return 0
    return 2 * count_of(made) * _inner(left, right, made)


def _inner(left: Shape, right: Shape, made: Shape) -> int:
    """K of (b, M, K) by (b, K, N), which gives (b, M, N), or by one (K, N): by counts, which views in between leave."""
    for shape in (right, left, made):
        squared, rest = divmod(count_of(left) * count_of(right), max(1, count_of(made) * math.prod(shape[0][:-2])))
        if not rest and math.isqrt(squared) ** 2 == squared:
            return math.isqrt(squared)
    return left[0][-1]


def _attention(attributes: Mapping[str, Any], by_name: Mapping[str, Shape | None], made: Shape) -> int:
    """Scores and their product with the values, over all slots: a mask skips nothing here."""
    keys = first_of(by_name, "key")
    if keys is None:
        return 0
    place = _LENGTH_AT.get(str(attributes.get("input_layout", "BSND")).partition("_")[0], 1)
    length = keys[0][place]
    queries = count_of(by_name.get("query")) + count_of(by_name.get("query_rope"))
    return 2 * length * (queries + count_of(made))

"""Tensors as a graph describes them: sizes and a data type, by GE's names or by torch's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

Shape = tuple[tuple[int, ...], str]  # sizes and data type

_ITEMS = {
    **dict.fromkeys(("float64", "int64", "uint64", "DT_DOUBLE", "DT_INT64", "DT_UINT64"), 8),
    **dict.fromkeys(("float32", "int32", "uint32", "DT_FLOAT", "DT_INT32", "DT_UINT32"), 4),
    **dict.fromkeys(("float16", "bfloat16", "int16", "uint16", "DT_FLOAT16", "DT_BF16", "DT_INT16", "DT_UINT16"), 2),
}


def first_of(by_name: Mapping[str, Shape | None], stem: str) -> Shape | None:
    """An input, or the first of a list of them: `key0`."""
    return by_name.get(stem) or by_name.get(f"{stem}0")


def guessed(given: list[Shape | None]) -> Shape | None:
    """Of an elementwise kernel in the middle of a conversion: the largest of its inputs, in the widest type."""
    known = [shape for shape in given if shape is not None]
    if not known:
        return None
    return max(known, key=count_of)[0], max(known, key=item_of)[1]


def shape_of(said: Any) -> Shape | None:
    return None if said is None else (tuple(said[0]), said[1])


def count_of(shape: Shape | None) -> int:
    return 0 if shape is None else math.prod(shape[0])


def item_of(shape: Shape) -> int:
    return _ITEMS.get(shape[1], 1)


def same_type(one: Shape | None, other: Shape | None) -> bool:
    """As far as descriptions, which name types in two ways, tell: a step has one half precision."""
    if one is None or other is None:
        return False
    return item_of(one) == item_of(other) and _is_float(one) == _is_float(other)


def _is_float(shape: Shape) -> bool:
    return "float" in shape[1].lower() or shape[1] in ("DT_BF16", "DT_DOUBLE")


def bytes_of(shape: Shape | None) -> int:
    return 0 if shape is None else count_of(shape) * item_of(shape)

"""A `Layer` -> a drawing of it, as rectangles and lines of text: two sides, source and port, for one width of a screen.

Contract: plain geometry. The template writes the SVG, and escapes what stands in it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field

from porter.report.review.drawing import OF_NPU, Kernels, Layer, Row

_SQUARE, _GAP, _LINE, _CHAR = 11, 3, 15, 6.7
_MOVES = ("Cast", "Transpose", "ConcatV2", "StridedSlice", "Split", "BroadcastTo", "Gather", "Pad", "Scatter", "Tile")
_PRODUCTS = ("MatMul", "BatchMatMul")
_SINGLE = ("Add", "Sub", "Mul", "Muls", "Adds", "RealDiv", "Neg", "Pow", "Reduce", "Rsqrt", "Sqrt", "Swish", "Softmax")
_SINGLE_TOO = ("Sigmoid", "Gelu", "Exp", "Masked", "Select", "TopK", "Cumsum", "Equal", "Less", "Greater", "Logical")
FAMILIES = {"fused": "fused", "product": "matrix product", "single": "one operation", "move": "move, cast or cut"}


@dataclass(frozen=True)
class Box:
    x: float
    y: float
    width: float
    height: float
    style: str
    title: str = ""


@dataclass(frozen=True)
class Words:
    x: float
    y: float
    text: str
    style: str = ""


@dataclass
class Picture:
    width: int
    height: float = 0
    boxes: list[Box] = field(default_factory=list)
    words: list[Words] = field(default_factory=list)


def family(kind: str) -> str:
    """What sort of kernel a GE operator is, by its name; what is none of the plain ones is a fused one."""
    if kind in _PRODUCTS:
        return "product"
    if kind.startswith(_MOVES):
        return "move"
    plain = any(kind == name or (len(name) > 4 and kind.startswith(name)) for name in (*_SINGLE, *_SINGLE_TOO))
    return "single" if plain else "fused"


def picture(layer: Layer, width: int) -> Picture:
    made = Picture(width)
    half = (width - 24) / 2
    y: float = 0
    for phase in layer.phases:
        y += _LINE
        made.words.append(Words(0, y, phase.name, "head"))
        y += 6
        ends = [
            _squares(made, x, y, half, side, name)
            for x, side, name in ((0, phase.source, "source"), (half + 24, phase.port, "port"))
        ]
        y = max(ends) + 6
    if layer.rows:
        y += _LINE
        made.words += [Words(0, y, "source: operations", "head"), Words(half + 24, y, "port: operations", "head")]
        y += 8
    for row in layer.rows:
        y = _row(made, y, half, row)
    made.height = y + 2
    return made


def _squares(made: Picture, x: float, y: float, width: float, side: Kernels, name: str) -> float:
    """A square a kernel, by families; gives where it ends."""
    if side.count is None:
        text = f"{name}: does not convert{f', stops at {side.stopped}' if side.stopped else ''}"
        return _paragraph(made, x, y + _LINE - 3, width, text, "muted")
    made.words.append(Words(x, y + _LINE - 3, f"{name}: {side.count} kernels a layer", ""))
    y += _LINE + 3
    kinds = sorted(side.kinds.items(), key=lambda item: list(FAMILIES).index(family(item[0])))
    every = [kind for kind, count in kinds for _ in range(count)] or [""] * side.count
    across = int((width + _GAP) // (_SQUARE + _GAP))
    for number, kind in enumerate(every):
        down, right = divmod(number, across)
        style = family(kind) if kind else "kernel"
        step = _SQUARE + _GAP
        made.boxes.append(Box(x + right * step, y + down * step, _SQUARE, _SQUARE, style, kind))
    return y + (max(len(every) - 1, 0) // across + 1) * (_SQUARE + _GAP)


def _row(made: Picture, y: float, half: float, row: Row) -> float:
    """A site: what the source's text has on the left, what the port's has on the right."""
    gone, come = _listed(row.gone), _listed(row.come)
    is_same = not (row.gone or row.come)
    if is_same:
        come = f"right as it is: {row.reason}" if row.status == "verdict" else f"{row.status}: the same operations"
    left = _wrapped(gone or "-", half)
    right = _wrapped(come or ("gone" if not row.status else "-"), half)
    names = _wrapped(f"{row.site} ({row.kind})", 2 * half + 24)
    height = max(len(left), len(right)) * _LINE + 10
    top = y + len(names) * _LINE + 4
    made.words += [Words(0, y + (n + 1) * _LINE - 2, line, "site") for n, line in enumerate(names)]
    for x, lines, style in ((0.0, left, "old"), (half + 24, right, "new")):
        made.boxes.append(Box(x, top, half, height, "same" if is_same else style))
        made.words += [Words(x + 7, top + (n + 1) * _LINE, line, "mono") for n, line in enumerate(lines)]
    made.words.append(Words(half + 6, top + height / 2 + 4, "→", "arrow"))
    return top + height + 8


def _listed(operations: Iterable[tuple[str, int]]) -> str:
    """With ops of the NPU by their names alone, which begin with `npu_`."""
    shown = ((name.removeprefix(f"{OF_NPU}."), count) for name, count in operations)
    return " · ".join(name if count == 1 else f"{count}× {name}" for name, count in shown)


def _wrapped(text: str, width: float) -> list[str]:
    return textwrap.wrap(text, max(10, int((width - 14) / _CHAR)), break_on_hyphens=False) or [""]


def _paragraph(made: Picture, x: float, y: float, width: float, text: str, style: str) -> float:
    lines = _wrapped(text, width)
    made.words += [Words(x, y + n * _LINE, line, style) for n, line in enumerate(lines)]
    return y + (len(lines) - 1) * _LINE + 4

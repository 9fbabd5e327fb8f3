"""One decoder layer before and after, as values: kernels where lowering was recorded, operations by what the texts say.

Contract: nothing is run. Operations are counted in the text of each site's function, once however often it is called;
what stands on both sides alike is left out. Kernels are figures of a record, or there are none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import libcst as cst

from porter.diagnostics import Refused
from porter.tree import Function, Node, Tree, parse
from porter.tree.functions import methods

_OUTSIDE = ("model", "rotary", "unknown")  # kinds of sites that run once a step
_ORDER = ("norm", "rotary function", "attention", "mixer", "router", "experts", "moe", "mlp", "layer")
_SIGNS: dict[type[cst.CSTNode], str] = {
    cst.Add: "+",
    cst.Subtract: "-",
    cst.Multiply: "*",
    cst.Divide: "/",
    cst.MatrixMultiply: "@",
    cst.Power: "**",
    cst.Minus: "-x",
}
OF_NPU = "torch_npu"


@dataclass(frozen=True)
class Kernels:
    """Of a layer in one phase. `count` is None where it does not convert: `stopped` says at what."""

    count: int | None
    kinds: dict[str, int] = field(default_factory=dict)
    stopped: str = ""


@dataclass(frozen=True)
class Phase:
    name: str  # "prefill" or "decode"
    source: Kernels
    port: Kernels


@dataclass(frozen=True)
class Row:
    """A site of the layer: operations that only the source's text has, and only the port's."""

    site: str
    kind: str
    status: str
    gone: tuple[tuple[str, int], ...] = ()
    come: tuple[tuple[str, int], ...] = ()  # those of the NPU with `torch_npu.` before them
    reason: str = ""


@dataclass(frozen=True)
class Layer:
    phases: tuple[Phase, ...] = ()
    recorded_in: str = ""
    rows: tuple[Row, ...] = ()
    note: str = ""


def rows_of(sites: Iterable[Row], unused: Iterable[str], old: str, new: str) -> tuple[Row, ...]:
    """The sites with their operations; last, what the port has no more because nothing calls it."""
    source, port = parse(old, "source"), parse(new, "port")
    if isinstance(source, Refused) or isinstance(port, Refused):
        return ()
    rows = [_row(site, source, port) for site in sites if site.kind not in _OUTSIDE]
    rank = {kind: number for number, kind in enumerate(_ORDER)}
    rows.sort(key=lambda row: rank.get(row.kind, len(_ORDER)))
    gone = [Row(name, "no longer called", "", tuple(_operations(source, name).items())) for name in unused]
    return (*rows, *(row for row in gone if row.gone))


def _row(site: Row, source: Tree, port: Tree) -> Row:
    old, new = _operations(source, site.site), _operations(port, site.site)
    gone, come = old - new, new - old
    return Row(site.site, site.kind, site.status, tuple(gone.items()), tuple(come.items()), site.reason)


def _operations(tree: Tree, name: str) -> Counter[str]:
    function = _function(tree, name)
    found = (_operation(node) for node in (tree.nodes(function.body) if function is not None else ()))
    return Counter(operation for operation in found if operation)


def _function(tree: Tree, name: str) -> Function | None:
    owner, _, method = name.rpartition(".")
    if not owner:
        return tree.functions.get(name)
    return methods(tree.classes[owner]).get(method) if owner in tree.classes else None


def _operation(node: Node) -> str:
    if isinstance(node, cst.Call):
        return _called(node.func)
    if isinstance(node, cst.UnaryOperation) and isinstance(node.expression, cst.BaseNumber):
        return ""
    if isinstance(node, (cst.BinaryOperation, cst.UnaryOperation)):
        return _SIGNS.get(type(node.operator), "")
    return ""


def _called(function: cst.BaseExpression) -> str:
    if isinstance(function, cst.Name):
        return function.value
    if not isinstance(function, cst.Attribute):
        return ""
    is_npu = isinstance(function.value, cst.Name) and function.value.value == OF_NPU
    return f"{OF_NPU}.{function.attr.value}" if is_npu else function.attr.value

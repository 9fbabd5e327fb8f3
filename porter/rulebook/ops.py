"""Ops that a folder of rules brings: `ops/*.py`, read as text here, and run where a port with one is loaded or proved.

A file of ops holds `OPS = (Op(schema, kernel, fake), ...)`, with `Op` of `porter.npu.registry`, as the files of
`porter/npu` do: the schema is a literal, `npu_<name>(...) -> ...` for an op of torch_npu that porter has no kernel
for, `<namespace>::<name>(...) -> ...` for one of another library. It stands alone: it goes into a port as it is.
A rule calls them as `torch_npu.npu_<name>(...)` and `torch.ops.<namespace>.<name>(...)`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

import libcst as cst

from porter.diagnostics import Diagnostic, Refused, Span
from porter.rulebook.folders import is_rule_file
from porter.rulebook.pattern import Pattern
from porter.rulebook.shared import read_rule_file
from porter.tree import Node, Tree, parse
from porter.tree.fields import walk
from porter.tree.imports import imports_of
from porter.tree.names import dotted
from porter.tree.values import NotLiteral, literal

OPS = "ops"
_NPU = "npu"  # the namespace of torch_npu
_OF_TORCH = frozenset({"aten", "prims", "prim", "higher_order", "c10d", "_c10d_functional"})
_WAYS = ("porter.npu.torch_npu.", "torch_npu.")  # how rules call ops of torch_npu
_FIELDS = ("schema", "kernel", "fake")


@dataclass(frozen=True)
class OpFile:
    """One file of ops, and the ops it brings: `acme::gate`."""

    name: str
    text: str = field(repr=False)
    ops: tuple[str, ...]

    @property
    def module(self) -> str:
        """The module that it is in a port."""
        return f"{OPS}_{self.name}"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


class UsedOp(NamedTuple):
    """An op that an `after` calls, and where it is named."""

    op: str
    written: str
    place: Span


class Declared(NamedTuple):
    """A file of ops as it was read, and where it declares each op."""

    file: OpFile
    tree: Tree
    nodes: dict[str, Node]


def load_ops(folder: Path) -> tuple[OpFile, ...] | Refused:
    """The ops that a folder of rules brings; none where it has no `ops`. P034, located, for what is no such file."""
    declared = declared_ops(folder)
    return declared if isinstance(declared, Refused) else tuple(each.file for each in declared)


def declared_ops(folder: Path) -> tuple[Declared, ...] | Refused:
    """The same, with where each op is declared."""
    found: list[Declared] = []
    known = dict.fromkeys(ops_of_porter(), "porter")
    for path in sorted(path for path in (folder / OPS).glob("*.py") if is_rule_file(path)):
        display = f"{folder.name}/{OPS}/{path.name}"
        tree = read_rule_file(path, display, whole=True)
        if isinstance(tree, Refused):
            return tree
        ops = _declared(tree, path.stem)
        if isinstance(ops, Refused):
            return ops
        for op, node in ops.items():
            if op in known:
                return _broken(tree, node, f"there is a kernel for `{op}` already, in {known[op]}")
            known[op] = f"`{display}`"
        found.append(Declared(OpFile(path.stem, tree.text, tuple(ops)), tree, ops))
    return tuple(found)


def used_ops(pattern: Pattern) -> Iterator[UsedOp]:
    """The ops that the `after` of a pattern names, porter's own among them, each once."""
    seen = set()
    for node in walk(pattern.after) if pattern.after is not None else ():
        name = dotted(node) if isinstance(node, (cst.Attribute, cst.Name)) else None
        op = _named(pattern.file.qualified(name) or name) if name is not None else None
        if name is not None and op is not None and op not in seen:
            seen.add(op)
            written = pattern.after if node not in pattern.file.places else node
            yield UsedOp(op, name, pattern.file.span(written or node))


@cache
def ops_of_porter() -> frozenset[str]:
    """The ops that porter has kernels for: read where they are listed, for importing them takes torch."""
    path = Path(__file__).parents[1] / "npu" / "torch_npu.py"
    tree = parse(path.read_text(encoding="utf-8"), path.name, path)
    assert isinstance(tree, Tree), tree
    return frozenset(f"{_NPU}::{name}" for name in tree.module_bindings if name not in tree.imports)


def _named(full: str) -> str | None:
    """`npu::npu_x` for `porter.npu.torch_npu.npu_x`, `acme::gate` for `torch.ops.acme.gate`; None for no op."""
    way = next((way for way in _WAYS if full.startswith(way)), None)
    if way is not None:
        return f"{_NPU}::{full.removeprefix(way).split('.')[0]}"
    parts = full.split(".")
    is_op = parts[:2] == ["torch", "ops"] and len(parts) > 3 and parts[2] not in _OF_TORCH
    return f"{parts[2]}::{parts[3]}" if is_op else None


def _declared(tree: Tree, name: str) -> dict[str, Node] | Refused:
    """Op -> where a file declares it."""
    first = tree.statements[0] if tree.statements else tree.module
    if not name.isidentifier():
        return _broken(tree, first, f"`{name}` is no module's name")
    lost = next((item.node for node in tree.statements for item in imports_of(node) if _is_lost(item)), None)
    if lost is not None:
        return _broken(tree, lost, "a file of ops goes into a port alone: it imports what is installed, nothing beside")
    declared = next((node for node in tree.statements if _is_ops(node)), None)
    if not isinstance(declared, cst.Assign):
        return _broken(tree, first, "a file of ops needs `OPS = (Op(schema, kernel, fake),)`")
    found: dict[str, Node] = {}
    elements = declared.value.elements if isinstance(declared.value, cst.Tuple) else ()
    for element in elements:
        op = _op(tree, element.value)
        if isinstance(op, Refused):
            return op
        if op in found:
            return _broken(tree, element.value, f"there is another `{op}` in this file")
        found[op] = element.value
    return found or _broken(tree, declared.value, "`OPS` is a tuple of `Op(schema, kernel, fake)`, of one at least")


def _op(tree: Tree, node: Node) -> str | Refused:
    """The op of one `Op(...)`: its schema is a literal, and it has a kernel and a fake kernel."""
    if not isinstance(node, cst.Call) or (dotted(node.func) or "").split(".")[-1] != "Op":
        return _broken(tree, node, f"`Op(schema, kernel, fake)` is wanted here, found `{tree.code(node)}`")
    given = {
        (argument.keyword.value if argument.keyword else _FIELDS[place] if place < len(_FIELDS) else ""): argument.value
        for place, argument in enumerate(node.args)
    }
    try:
        schema = literal(given["schema"]) if "schema" in given else None
    except NotLiteral:
        schema = None
    if not isinstance(schema, str) or "(" not in schema:
        return _broken(tree, given.get("schema", node), "the schema of an op is a literal, `gate(Tensor x) -> Tensor`")
    space, colons, name = schema.partition("(")[0].strip().rpartition("::")
    if not name.isidentifier() or not (space or not colons):
        return _broken(tree, given["schema"], f"`{schema.partition('(')[0]}` is no name of an op")
    op = f"{space or _NPU}::{name}"
    for field_name, what in (("kernel", "kernel"), ("fake", "fake kernel")):
        if field_name not in given or dotted(given[field_name]) == "None":
            return _broken(tree, node, f"`{op}` has no {what}: `Op(schema, kernel, fake)`")
    return op


def _is_ops(node: Node) -> bool:
    return isinstance(node, cst.Assign) and any(dotted(target.target) == "OPS" for target in node.targets)


def _is_lost(item: object) -> bool:
    """Whether an import is of what does not go along."""
    return getattr(item, "level", 0) > 0 or getattr(item, "module", "").split(".")[0] == "rules"


def _broken(tree: Tree, node: Node, message: str) -> Refused:
    place = Span(tree.display, 1, 0, 1, 1) if isinstance(node, cst.Module) else tree.span(node)
    return Refused((Diagnostic("P034", f"broken op: {message}", place, help="mend the file of ops"),))

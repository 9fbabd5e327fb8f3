"""Imports of a port: those it needs come, those nothing uses go, relative ones become absolute.

LibCST has visitors for this. They want its metadata of scopes, which takes longer than everything else porter does to a
file, and they write each module's names where they like; so imports are nodes here as any others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import partial
from typing import Any

import libcst as cst

from porter.rewrite.edits import Edits
from porter.rewrite.layout import leading, with_leading
from porter.rewrite.needed import Needed
from porter.rewrite.removal import without_lines
from porter.tree import Node, Tree
from porter.tree.fields import plain
from porter.tree.functions import is_docstring
from porter.tree.imports import absolute, bound_by, module_named

LINE_LIMIT = 119
TORCH_NPU = """try:
    import torch_npu
except ImportError:  # no NPU stack here: the same ops, computed on the CPU
    from porter.npu import torch_npu
"""


def without_imports(module: cst.Module, dead: Collection[str]) -> cst.Module:
    """The module without dead names; an import that shares its line or holds a comment stays as it is."""
    body: list[Any] = []
    gone: set[cst.BaseStatement] = set()
    lines: Sequence[Any] = module.body if dead else ()
    for line in lines:
        alone = isinstance(line, cst.SimpleStatementLine) and len(line.body) == 1
        node = line.body[0] if alone else None
        if isinstance(node, (cst.Import, cst.ImportFrom)) and not isinstance(node.names, cst.ImportStar):
            kept = [alias for alias in node.names if bound_by(alias) not in dead]
            if len(kept) < len(node.names) and not any(isinstance(inner, cst.Comment) for inner in _every(line)):
                if kept:
                    line = _with_names(line, node, kept)
                else:
                    gone.add(line)
        body.append(line)
    return without_lines(module.with_changes(body=body), gone) if dead else module


def _every(line: cst.SimpleStatementLine) -> Iterator[Node]:
    """Every node of a line, but for the lines above it."""
    pending: list[Node] = [*line.body, line.trailing_whitespace]
    while pending:
        node = pending.pop()
        yield node
        pending += node.children


def _with_names(line: cst.SimpleStatementLine, node: cst.Import | cst.ImportFrom, kept: list[cst.ImportAlias]) -> Any:
    names = [f"{plain(a.name)} as {plain(a.asname)}" if a.asname else str(plain(a.name)) for a in kept]
    if isinstance(node, cst.Import):
        text = f"import {', '.join(names)}"
    else:
        module, level = module_named(node)
        text = from_import("." * level + module, names)
    new = cst.parse_statement(text)
    assert isinstance(new, cst.SimpleStatementLine)
    return new.with_changes(leading_lines=line.leading_lines, trailing_whitespace=line.trailing_whitespace)


def from_import(module: str, names: list[str]) -> str:
    """An import statement, over several lines where one is too long."""
    line = f"from {module} import {', '.join(names)}"
    if len(line) <= LINE_LIMIT:
        return line
    return "\n".join([f"from {module} import (", *(f"    {name}," for name in names), ")"])


def make_absolute(edits: Edits) -> None:
    """`from ...cache_utils import X` in `transformers.models.llama`: `from transformers.cache_utils import X`."""
    package = edits.tree.package
    for node in edits.tree.nodes(edits.tree.module) if package is not None else ():
        if isinstance(node, cst.ImportFrom) and node.relative:
            name = absolute(*module_named(node), package)
            edits.transform(node, partial(_from_module, name or ""))


def _from_module(name: str, node: cst.ImportFrom) -> cst.ImportFrom:
    space = cst.SimpleWhitespace(" ")
    return node.with_changes(
        relative=(),
        module=cst.parse_expression(name),
        whitespace_after_from=space,
        whitespace_before_import=space,
    )


def with_imports(new: Tree, needed: dict[str, Needed]) -> cst.Module:
    """The module with what it needs imported behind its last import that stands before any definition."""
    by_module: dict[str, list[str]] = {}
    plain_imports: list[str] = []
    for name, item in sorted(needed.items()):
        if name in new.imported_always:
            continue
        if item.name is None:
            plain_imports.append(f"import {item.module}" if item.module == name else f"import {item.module} as {name}")
        else:
            by_module.setdefault(item.module, []).append(item.alias(name))
    blocks = [TORCH_NPU] if "torch_npu" in by_module.pop("porter.npu", []) else []
    lines = [*plain_imports, *(from_import(module, names) for module, names in sorted(by_module.items()))]
    blocks += ["\n".join(lines) + "\n"] if lines else []
    if not blocks:
        return new.module
    added = list(cst.parse_module("\n" + "\n".join(blocks)).body)
    added[0] = with_leading(added[0], [cst.EmptyLine(indent=False), *leading(added[0])][:1])
    at = _import_place(new.module)
    return new.module.with_changes(body=[*new.module.body[:at], *added, *new.module.body[at:]])


def _import_place(module: cst.Module) -> int:
    """The number of the line after the last import that stands before any definition; else after the docstring."""
    place = 0
    for number, line in enumerate(module.body):
        if isinstance(line, (cst.FunctionDef, cst.ClassDef)):
            break
        small = line.body if isinstance(line, cst.SimpleStatementLine) else ()
        is_import = any(isinstance(node, (cst.Import, cst.ImportFrom)) for node in small)
        if is_import or (not place and small and is_docstring(small[0])):
            place = number + 1
    return place

"""Imports of a port: those it needs come, those nothing uses go, relative ones become absolute.

LibCST has visitors for this. They want its metadata of scopes, which takes longer than everything else porter does to a
file, and they write each module's names where they like; so imports are nodes here as any others.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any

import libcst as cst

from porter.diagnostics import Refused
from porter.rewrite.edits import Edits, Run
from porter.rewrite.layout import comments_of, with_leading
from porter.rewrite.needed import Needed
from porter.rewrite.rebuild import Rebuilder
from porter.source.beside import bare_module, bare_name
from porter.tree import parse
from porter.tree.functions import is_docstring
from porter.tree.imports import absolute, bound_by, module_named

LINE_LIMIT = 119
TORCH_NPU = """try:
    import torch_npu
except ImportError:  # no NPU stack here: the same ops, computed on the CPU
    from porter.npu import torch_npu
"""


def drop_imports(edits: Edits, dead: Collection[str]) -> None:
    """Take dead names out of imports; one that shares its line or holds a comment stays as it is."""
    for line in edits.tree.module.body if dead else ():
        if not isinstance(line, cst.SimpleStatementLine) or len(line.body) > 1:
            continue
        node = line.body[0]
        if isinstance(node, (cst.Import, cst.ImportFrom)) and not isinstance(node.names, cst.ImportStar):
            kept = [alias for alias in node.names if bound_by(alias) not in dead]
            has_comment = any(True for part in (node, line.trailing_whitespace) for _ in comments_of(part, frozenset()))
            if len(kept) < len(node.names) and not has_comment:
                edits.replace_run(Run((node,), partial(_shrunk, node, kept)))


def _shrunk(node: cst.Import | cst.ImportFrom, kept: list[cst.ImportAlias]) -> list[Any]:
    """The import with some of its names, as a line, if any."""
    if not kept:
        return []
    names = [a.evaluated_name + (f" as {a.evaluated_alias}" if a.asname else "") for a in kept]
    if isinstance(node, cst.Import):
        return [cst.parse_statement(f"import {', '.join(names)}")]
    module, level = module_named(node)
    return [cst.parse_statement(from_import("." * level + module, names))]


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
            if name is not None:
                edits.transform(node, partial(_from_module, name))


def lead_beside(edits: Edits, beside: Collection[str]) -> None:
    """`from configuration_x import X` of a file beside: `from .configuration_x import X`, as a port's folder has it."""
    for node in edits.tree.nodes(edits.tree.module) if beside else ():
        if isinstance(node, cst.ImportFrom) and bare_module(node) in beside:
            edits.transform(node, _from_beside)
        elif isinstance(node, cst.Import) and all(bare_name(alias.name) in beside for alias in node.names):
            edits.transform(node, _module_beside)


def led_beside(text: str, display: str, beside: Collection[str]) -> str:
    """The same for the text of a file that goes with a port."""
    tree = parse(text, display)
    if isinstance(tree, Refused):
        return text
    edits = Edits(tree)
    lead_beside(edits, beside)
    edits.settle()
    code = Rebuilder(edits).module().code
    return text if code == tree.text else code


def _from_beside(node: cst.ImportFrom) -> cst.ImportFrom:
    return node.with_changes(relative=(cst.Dot(),))


def _module_beside(node: cst.Import) -> cst.ImportFrom:
    return cst.ImportFrom(module=None, relative=(cst.Dot(),), names=node.names)


def _from_module(name: str, node: cst.ImportFrom) -> cst.ImportFrom:
    space = cst.SimpleWhitespace(" ")
    return node.with_changes(
        relative=(),
        module=cst.parse_expression(name),
        whitespace_after_from=space,
        whitespace_before_import=space,
    )


def add_imports(
    edits: Edits, needed: dict[str, Needed], replaced: dict[str, Needed], own: tuple[str, ...] = ()
) -> None:
    """Import what is needed, behind the file's last import that stands before any definition.

    What is `replaced` is imported although the file imports a thing of that name. `own` are statements behind them.
    """
    by_module: dict[str, list[str]] = {}
    lines: list[str] = []
    for name, item in sorted({**needed, **replaced}.items()):
        if name in edits.tree.imported_always and name not in replaced:
            continue
        if item.name is None:
            lines.append(f"import {item.module}" if item.module == name else f"import {item.module} as {name}")
        else:
            by_module.setdefault(item.module, []).append(item.alias(name))
    blocks = [TORCH_NPU] if "torch_npu" in by_module.pop("porter.npu", []) else []
    lines += [from_import(module, names) for module, names in sorted(by_module.items())]
    blocks += ["\n".join(lines) + "\n"] if lines else []
    blocks += ["\n".join(own) + "\n"] if own else []
    if blocks:
        edits.transform(edits.tree.module, partial(_with_block, "\n" + "\n".join(blocks)))


def _with_block(text: str, module: cst.Module) -> cst.Module:
    """The module with lines, and a blank one above them, behind its first imports."""
    added = list(cst.parse_module(text).body)
    added[0] = with_leading(added[0], [cst.EmptyLine(indent=False)])
    at = _import_place(module)
    return module.with_changes(body=[*module.body[:at], *added, *module.body[at:]])


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

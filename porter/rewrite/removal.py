"""Takes whole definitions out of a module, and what stood around them stays: comments above, one gap of blank lines."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import libcst as cst

from porter.rewrite.layout import as_lines, leading, with_leading, without_first_blanks


def without_definitions(module: cst.Module, names: Collection[str]) -> cst.Module:
    """The module without functions, and methods given as `Class.name`."""
    if not names:
        return module
    body: list[Any] = []
    inner: dict[str, set[str]] = {}
    for name in names:
        cls, dot, method = name.partition(".")
        if dot:
            inner.setdefault(cls, set()).add(method)
    for line in module.body:
        gone = inner.get(line.name.value) if isinstance(line, cst.ClassDef) else None
        if isinstance(line, cst.ClassDef) and gone and isinstance(line.body, cst.IndentedBlock):
            line = line.with_changes(body=_without(line.body, gone))
        body.append(line)
    return _without(module.with_changes(body=body), {name for name in names if "." not in name})


def _without(block: Any, names: set[str]) -> Any:
    """A module or block without the functions of these names: the last definition of a name is the one that counts."""
    last = {line.name.value: line for line in block.body if isinstance(line, cst.FunctionDef)}
    gone = {line for name, line in last.items() if name in names}
    return without_lines(block, gone)


def without_lines(block: Any, gone: Collection[cst.BaseStatement]) -> Any:
    """A module or block without some of its lines."""
    if not gone:
        return block
    body: list[Any] = []
    owed: list[cst.EmptyLine] | None = None
    for line in block.body:
        if line in gone:
            lines = leading(line)
            owed = [*lines] if owed is None else [*owed, *without_first_blanks(lines)]
        elif owed is not None:
            body.append(with_leading(line, [*owed, *without_first_blanks(leading(line))]))
            owed = None
        else:
            body.append(line)
    footer = block.footer if owed is None else [*owed, *without_first_blanks(block.footer)]
    if not body and isinstance(block, cst.IndentedBlock):
        body = [as_lines(cst.Pass())]
    return block.with_changes(body=body, footer=footer)

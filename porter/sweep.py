"""What a rewrite left dead goes: helpers and imports that the source used and the new text does not."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from porter.parse import Function, Parsed, methods, parse
from porter.ported import FRAME, Change

LINE_LIMIT = 119


def sweep(source: Parsed, text: str, wanted: set[str]) -> tuple[str, list[Change]]:
    """The text without what is dead now; `wanted` are names that something outside the text needs."""
    parsed = parse(text, source.display)
    if not isinstance(parsed, Parsed):
        raise AssertionError(f"the rewritten text does not parse: {parsed.diagnostics[0]}")
    used_before = used_names(source.nodes(source.tree))
    before = dict(_definitions(source))
    alive = dict(_definitions(parsed))
    inside = {name: set(parsed.nodes(function)) for name, function in alive.items()}
    within = set().union(*inside.values()) if inside else set()
    elsewhere = used_names(node for node in parsed.nodes(parsed.tree) if node not in within) | wanted
    uses = {name: used_names(nodes) for name, nodes in inside.items()}
    fallen: dict[str, Function] = {}
    while True:
        dead = [n for n in alive if n in before and _key(n) in used_before - _used_by(elsewhere, uses, alive, n)]
        if not dead:
            break
        fallen |= {name: alive.pop(name) for name in dead}
    used = _used_by(elsewhere, uses, alive, None)
    dead_imports = {name for name in parsed.imports if name not in used and name in used_before}
    edits = [*_removals(parsed, fallen.values()), *_import_edits(parsed, dead_imports)]
    return apply_edits(parsed.data, edits), [_change(name, before[name]) for name in fallen]


def used_names(nodes: Iterable[ast.AST]) -> set[str]:
    """Names that are read; `.name` for attributes. Strings count too, for `__all__`, `getattr` and annotations."""
    used: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            used.add(node.id)
        elif isinstance(node, ast.Attribute):
            used.add(f".{node.attr}")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            used |= {node.value, f".{node.value}"}
    return used


def _used_by(elsewhere: set[str], uses: dict[str, set[str]], alive: dict[str, Function], but: str | None) -> set[str]:
    """What is used outside the definition `but`: a function that only calls itself is dead.

    A method that calls `super()` by its own name is a hook of the library's: somebody else calls it.
    """
    return elsewhere.union(*(uses[name] for name in alive if name != but or "." in name))


def _definitions(parsed: Parsed) -> Iterator[tuple[str, Function]]:
    """What the sweep may take: module functions, and methods that are private by their name."""
    yield from parsed.functions.items()
    for cls, node in parsed.classes.items():
        for name, function in methods(node).items():
            if name.startswith("_") and not name.startswith("__"):
                yield f"{cls}.{name}", function


def _key(name: str) -> str:
    """How code names a definition: methods by a dot and their name, whatever they belong to."""
    return name[name.index(".") :] if "." in name else name


def _change(name: str, node: Function) -> Change:
    first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    return Change(FRAME, name, first, node.end_lineno or node.lineno)


def _removals(parsed: Parsed, functions: Iterable[Function]) -> Iterator[tuple[int, int, str]]:
    """Whole definitions: decorators, body and the blank lines that follow."""
    for function in functions:
        first = min([function, *function.decorator_list], key=lambda node: node.lineno)
        start = parsed.line_start(parsed.range(first)[0])
        end = parsed.data.find(b"\n", parsed.range(function)[1]) + 1 or len(parsed.data)
        while (line_end := parsed.data.find(b"\n", end) + 1) and parsed.data[end:line_end].isspace():
            end = line_end
        yield start, end, ""


def _import_edits(parsed: Parsed, dead: set[str]) -> Iterator[tuple[int, int, str]]:
    """Imports without their dead names; one that shares its line or holds a comment stays as it is."""
    for node in parsed.tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            kept = [alias for alias in node.names if (alias.asname or alias.name.split(".")[0]) not in dead]
            start, end = parsed.range(node)
            alone = parsed.line_start(start) == start and parsed.data[end : end + 1] in (b"\n", b"")
            if len(kept) < len(node.names) and alone and b"#" not in parsed.data[start:end]:
                yield start, end + (0 if kept else 1), _import_text(node, kept)


def _import_text(node: ast.Import | ast.ImportFrom, names: list[ast.alias]) -> str:
    if not names:
        return ""
    listed = [f"{a.name} as {a.asname}" if a.asname else a.name for a in names]
    if isinstance(node, ast.Import):
        return "import " + ", ".join(listed)
    return from_import("." * node.level + (node.module or ""), listed)


def from_import(module: str, names: list[str]) -> str:
    """An import statement, over several lines where one is too long."""
    line = f"from {module} import {', '.join(names)}"
    if len(line) <= LINE_LIMIT:
        return line
    return "\n".join([f"from {module} import (", *(f"    {name}," for name in names), ")"])


def apply_edits(data: bytes, edits: list[tuple[int, int, str]]) -> str:
    """The text with each byte range `[start, end)` replaced; ranges do not overlap."""
    for start, end, text in sorted(edits, reverse=True):
        data = data[:start] + text.encode() + data[end:]
    return data.decode()

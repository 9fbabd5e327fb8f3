"""What a port calls of porter's runtime, in the runtime's own words: `add_norm` is "norm(residual + branch) ...".

Contract: the runtime is read as text, and not imported: it comes with torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

import libcst as cst

import porter
from porter.diagnostics import Refused
from porter.tree import Tree, parse

RUNTIME = "porter.runtime"
_FOLDER = Path(porter.__file__).parent


def called(port: str) -> dict[str, frozenset[int]]:
    """Names of the runtime in the text of a port -> the lines that they are used in."""
    tree = parse(port, "port")
    if isinstance(tree, Refused):
        return {}
    names = {item.bound for item in tree.imports.values() if item.module == RUNTIME}
    found: dict[str, set[int]] = {name: set() for name in names}
    for statement in (each for each in tree.statements if not isinstance(each, cst.ImportFrom)):
        for node in tree.nodes(statement):
            if isinstance(node, cst.Name) and node.value in names:
                found[node.value].add(tree.line(node))
    return {name: frozenset(lines) for name, lines in found.items() if lines}


@cache
def words_of(name: str) -> str:
    """The first paragraph of what the runtime says of one of its names; nothing where it says nothing."""
    home = _tree("runtime/__init__.py")
    item = home.imports.get(name) if home is not None else None
    if item is None or not item.module.startswith(f"{porter.__name__}."):
        return ""
    tree = _tree(f"{item.module.removeprefix(f'{porter.__name__}.').replace('.', '/')}.py")
    node = None if tree is None else tree.functions.get(name) or tree.classes.get(name)
    document = node.get_docstring() if node is not None else None
    return " ".join((document or "").split("\n\n")[0].split())


@cache
def _tree(name: str) -> Tree | None:
    try:
        tree = parse((_FOLDER / name).read_text(encoding="utf-8"), name)
    except OSError:
        return None
    return None if isinstance(tree, Refused) else tree


def calls_of(lines: Iterable[int], used: dict[str, frozenset[int]]) -> tuple[tuple[str, str], ...]:
    """(name, words) of what stands in these lines of a port."""
    there = frozenset(lines)
    return tuple((name, words) for name, at in sorted(used.items()) if at & there and (words := words_of(name)))

"""A name of a module -> the function or class that it means, wherever that is defined. Nothing is imported or run.

Followed are imports that always happen: from a file beside, which the source takes along, and from installed packages,
found by path. What a module binds twice, by an assignment or under a condition has no definition that could be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import libcst as cst

from porter.diagnostics import Refused
from porter.source import Companion
from porter.source.installed import locate_module
from porter.tree import Tree, parse
from porter.tree.imports import Import


@dataclass(frozen=True)
class Definition:
    """Where something is defined: the node, in its file."""

    tree: Tree
    node: cst.FunctionDef | cst.ClassDef = field(repr=False)

    @property
    def place(self) -> str:
        """As messages name it: `llama/modeling_llama.py:150`."""
        return f"{self.tree.display}:{self.tree.line(self.node)}"


class Definitions:
    """Follows names from one module on; `beside` are the files that its source takes along."""

    def __init__(self, beside: Sequence[Companion]) -> None:
        self._beside = {companion.path.stem: companion for companion in beside}

    def of(self, name: str, tree: Tree) -> Definition | str:
        """What a dotted name of a module means; else why that cannot be said, in words."""
        seen: set[tuple[int, str]] = set()
        while (id(tree), name) not in seen:
            seen.add((id(tree), name))
            root, _, rest = name.partition(".")
            if tree.module_bindings[root] != 1:
                return _unsettled(root, tree)
            found = tree.functions.get(name) or tree.classes.get(name)
            if isinstance(found, (cst.FunctionDef, cst.ClassDef)):
                return Definition(tree, found)
            if root not in tree.imported_always:
                return f"`{root}` is not defined as one function in `{tree.display}`"
            followed = self._follow(tree.imports[root], rest, tree)
            if isinstance(followed, str):
                return followed
            tree, name = followed
        return f"`{name}` is imported from itself"

    def _follow(self, item: Import, rest: str, tree: Tree) -> tuple[Tree, str] | str:
        """The file that an import takes a name from, and its name there."""
        parts = [
            *(item.module.split(".") if item.module else ()),
            *([item.name] if item.name else ()),
            *rest.split("."),
        ]
        names = [part for part in parts if part]
        beside = self._beside.get(names[0]) if tree.package is None and item.level <= 1 else None
        if beside is not None and len(names) == 2:
            file = parse_beside(beside.text, beside.name, beside.path)
            return (file, names[1]) if isinstance(file, Tree) else f"`{beside.name}` cannot be read"
        full = item.qualified(tree.package)
        if full is None:
            return f"`{item.bound}` comes from a file that is not known here"
        module, _, name = f"{full}.{rest}".rstrip(".").rpartition(".")
        installed = _installed(module)
        return (
            (installed, name)
            if installed is not None
            else f"the source of `{module}`, which `{name}` comes from, is not there"
        )


def _unsettled(name: str, tree: Tree) -> str:
    if not tree.module_bindings[name]:
        return f"`{name}` is not defined in `{tree.display}`"
    return f"`{name}` is bound more than once in `{tree.display}`"


@lru_cache(maxsize=64)
def imported_from(full: str) -> str:
    """The full name of what is imported, where it is defined rather than imported on; as given where none can say."""
    seen: set[str] = set()
    while full not in seen:
        seen.add(full)
        module, _, name = full.rpartition(".")
        tree = _installed(module) if module else None
        # a package that imports when asked says for readers only, under a condition, where a name comes from
        items = tree.alternatives.get(name, []) if tree is not None else []
        meanings = {item.qualified(tree.package) for item in items} if tree is not None else set()
        if len(meanings) != 1 or None in meanings:
            return full
        full = str(meanings.pop())
    return full


@lru_cache(maxsize=8)
def _installed(module: str) -> Tree | None:
    """The tree of an installed module, found by path; None where there is none that can be read."""
    located = locate_module(module)
    if isinstance(located, Refused):
        return None
    place, name = located
    is_package = place.is_dir()
    path = place / "__init__.py" if is_package else place
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    tree = parse(text, f"{path.parent.name}/{path.name}", path, name if is_package else name.rpartition(".")[0])
    return tree if isinstance(tree, Tree) else None


@lru_cache(maxsize=8)
def parse_beside(text: str, name: str, path: Path) -> Tree | Refused:
    """A file beside the source; it belongs to no package."""
    return parse(text, name, path)

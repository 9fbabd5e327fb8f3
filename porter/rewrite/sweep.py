"""What a rewrite left dead goes: helpers and imports that the source used and the new code does not."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import libcst as cst

from porter.rewrite.edits import Edits, Run
from porter.tree import Function, Node, Tree
from porter.tree.fields import children, walk
from porter.tree.functions import methods
from porter.tree.names import is_variable
from porter.tree.values import text_of_constant


@dataclass(frozen=True)
class Dead:
    """Functions, private methods as `Class.name`, and names of imports that nothing uses any more."""

    definitions: tuple[str, ...]
    imports: frozenset[str]


def find_dead(source: Tree, new: Tree, wanted: set[str]) -> Dead:
    """What the source used and the new code does not. `wanted` is used from outside.

    A function that only calls itself is dead. A method that calls `super()` by its own name is a hook of the library's:
    somebody else calls it.
    """
    before = dict(_definitions(source))
    alive = dict(_definitions(new))
    used_before = used_names(source.nodes(source.module), source)
    uses = {name: used_names(new.nodes(function), new) for name, function in alive.items()}
    users = Counter(name for names in uses.values() for name in names)
    elsewhere = used_names(_outside(new.module, frozenset(alive.values())), new) | wanted
    fallen: list[str] = []
    by_key: dict[str, list[str]] = {}
    for name in alive:
        by_key.setdefault(_key(name), []).append(name)
    pending = [name for name in alive if name in before]
    while pending:
        name = pending.pop()
        key = _key(name)
        if name not in alive or name not in before or key not in used_before or key in elsewhere:
            continue
        itself = key in uses[name] and "." not in name
        if users[key] - itself:
            continue
        fallen.append(name)
        del alive[name]
        users.subtract(uses[name])
        pending += [other for used in uses[name] for other in by_key.get(used, ())]
    used = elsewhere.union(*(uses[name] for name in alive))
    gone = set(fallen)
    imports = frozenset(
        name
        for name, item in new.imports.items()
        if name not in used and name in used_before and item.module != "__future__"
    )
    return Dead(tuple(name for name in before if name in gone), imports)


def used_names(nodes: Iterable[Node], tree: Tree) -> set[str]:
    """Names that are read; `.name` for attributes. Strings count too, for `__all__`, `getattr` and annotations."""
    used: set[str] = set()
    for node in nodes:
        kind = node.__class__
        if kind is cst.Name:
            if is_variable(node) and node not in tree.stored:
                used.add(node.value)  # type: ignore[attr-defined]
        elif kind is cst.Attribute:
            used.add(f".{node.attr.value}")  # type: ignore[attr-defined]
        elif kind is cst.SimpleString or kind is cst.ConcatenatedString:
            text = text_of_constant(node)
            if text is not None and text.isidentifier():
                used |= {text, f".{text}"}
        elif kind is cst.Annotation:
            used |= _named_in_strings(node)
    return used


def _named_in_strings(annotation: Node) -> set[str]:
    """Names in annotations that are written as strings: `"list[Cache]"`."""
    found: set[str] = set()
    for node in walk(annotation):
        text = text_of_constant(node) if node.__class__ is cst.SimpleString else None
        if text is not None and not text.isidentifier():
            with contextlib.suppress(cst.ParserSyntaxError):
                inner = walk(cst.parse_expression(text))
                found |= {name.value for name in inner if isinstance(name, cst.Name)}
    return found


def drop_definitions(edits: Edits, names: Iterable[str]) -> None:
    """Take whole definitions out; what stands around them stays: comments above, one gap of blank lines."""
    for name in names:
        edits.replace_run(Run((definition(edits.tree, name),), list))


def definition(tree: Tree, name: str) -> Function:
    """A function, or a method as `Class.name`."""
    cls, dot, method = name.partition(".")
    return methods(tree.classes[cls])[method] if dot else tree.functions[name]


def _outside(root: Node, functions: frozenset[Node]) -> Iterator[Node]:
    """Every node that is in none of the functions. One node of a rule may stand in several places of a new tree."""
    pending = [root]
    while pending:
        node = pending.pop()
        if node not in functions:
            yield node
            pending += children(node)


def _definitions(tree: Tree) -> Iterator[tuple[str, Function]]:
    """What the sweep may take: module functions, and methods that are private by their name."""
    yield from tree.functions.items()
    for cls, node in tree.classes.items():
        for name, function in methods(node).items():
            if name.startswith("_") and not name.startswith("__"):
                yield f"{cls}.{name}", function


def _key(name: str) -> str:
    """How code names a definition: methods by a dot and their name, whatever they belong to."""
    return name[name.index(".") :] if "." in name else name

"""Which classes a model is made of: what its causal class builds and inherits, and they in turn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import libcst as cst

from porter.anatomy.members import Built
from porter.anatomy.origins import is_elsewhere, is_module_base
from porter.tree import Node, Tree
from porter.tree.functions import methods

Bases = dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Reach:
    """Classes of the file that a model reaches, in the order of the file; which of them are built, and where."""

    classes: tuple[str, ...]
    built: dict[str, Node] = field(repr=False)  # class of this file -> code that names it
    elsewhere: dict[str, Node] = field(repr=False)  # classes of other files that are built or derived from


def reach(
    start: str, built: dict[str, Built], bases: Bases, tree: Tree, without: frozenset[str] = frozenset()
) -> Reach:
    """What `start` is made of. A class that is only derived from is reached, not built; `without` is not gone into."""
    seen: set[str] = set()
    made: dict[str, Node] = {}
    elsewhere: dict[str, Node] = {}
    pending = [start]
    while pending:
        name = pending.pop()
        if name in seen or name in without or name not in tree.classes:
            continue
        seen.add(name)
        for cls, at in built[name].own.items():
            made.setdefault(cls, at)
        pending += built[name].own
        pending += bases[name]
        for cls, at in built[name].elsewhere.items():
            elsewhere.setdefault(cls, at)
        for argument, base in _outer_bases(name, bases, tree):
            elsewhere.setdefault(base, argument)
    return Reach(tuple(name for name in tree.classes if name in seen), made, elsewhere)


def with_chosen_by_type(found: Reach, start: str, built: dict[str, Built], bases: Bases, tree: Tree) -> Reach:
    """The same, with the models of this file that `AutoModel.from_config(...)` may build, which names none of them.

    They are models that do not hold what builds them, and generate nothing.
    """
    asking = {name for name in found.classes if any(cls.startswith("Auto") for cls in built[name].elsewhere)}
    if not asking:
        return found
    own = {
        name: each for name, each in built.items() if name not in found.classes and _is_inner_model(name, bases, tree)
    }
    reaches = {name: reach(name, built, bases, tree) for name in own}
    chosen = {name: each for name, each in reaches.items() if not {start, *asking} & set(each.classes)}
    classes = {*found.classes, *(cls for each in chosen.values() for cls in each.classes)}
    made: dict[str, Node] = {name: tree.classes[name] for name in chosen}
    for each in chosen.values():
        made.update(each.built)
    elsewhere = {cls: at for each in chosen.values() for cls, at in each.elsewhere.items()}
    ordered = tuple(name for name in tree.classes if name in classes)
    return Reach(ordered, {**made, **found.built}, {**elsewhere, **found.elsewhere})


def with_functions(roots: Iterable[Node], tree: Tree) -> list[Node]:
    """Pieces of a module's code, and the functions of the module that they name, or that such functions name."""
    found: dict[Node, None] = {}
    pending = list(roots)
    while pending:
        root = pending.pop()
        if root not in found:
            found[root] = None
            names = {node.value for node in tree.nodes(root) if node.__class__ is cst.Name}
            pending += [function for name, function in tree.functions.items() if name in names]
    return list(found)


def _is_inner_model(name: str, bases: Bases, tree: Tree) -> bool:
    """Whether a class is a model with a forward of its own, and not one for `generate`."""
    chain: list[str] = [name]
    for cls in chain:
        chain += [base for base in bases.get(cls, ()) if base not in chain]
    last = {cls.split(".")[-1] for cls in chain}
    return "PreTrainedModel" in last and "GenerationMixin" not in last and "forward" in methods(tree.classes[name])


def _outer_bases(name: str, bases: Bases, tree: Tree) -> Iterator[tuple[Node, str]]:
    """Bases of a module that are code of a model in another file: its members are made there."""
    if not is_module(name, bases, tree):
        return
    for base in bases[name]:
        plain = base.removeprefix("...")
        if base not in tree.classes and is_elsewhere(plain, tree):
            yield tree.classes[name], plain.split(".")[-1]


def is_module(name: str, bases: Bases, tree: Tree) -> bool:
    """Whether a class of the file is a module, by what it derives from at any depth."""
    pending, seen = [name], set[str]()
    while pending:
        cls = pending.pop()
        if cls in seen:
            continue
        seen.add(cls)
        for base in bases[cls]:
            if base in tree.classes:
                pending.append(base)
            elif is_module_base(base, tree):
                return True
    return False

"""What classes build and derive from, read from their `__init__` and their bases."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from porter.anatomy.data import Member
from porter.tree import Node, Tree
from porter.tree.functions import methods
from porter.tree.names import dotted, last_name, self_attribute


def members_of(node: cst.ClassDef, tree: Tree) -> dict[str, Member]:
    """Members by name; what several branches assign is one member of several classes."""
    found: dict[str, Member] = {}
    for member in _assigned(node, tree):
        known = found.get(member.name)
        if known is not None:
            classes = tuple(dict.fromkeys((*known.classes, *member.classes)))
            member = Member(member.name, classes, known.is_list or member.is_list)
        found[member.name] = member
    return found


def _assigned(node: cst.ClassDef, tree: Tree) -> Iterator[Member]:
    init = methods(node).get("__init__")
    for statement in tree.nodes(init) if init is not None else ():
        if not isinstance(statement, cst.Assign):
            continue
        for target in statement.targets:
            name = self_attribute(target.target)
            if name:
                calls = (call for call in tree.nodes(statement.value) if isinstance(call, cst.Call))
                built = [cls for call in calls if (cls := last_name(call.func)) and cls[0].isupper()]
                classes = tuple(dict.fromkeys(cls for cls in built if cls != "ModuleList"))
                yield Member(name, classes, "ModuleList" in built)


def bases_of(node: cst.ClassDef) -> tuple[str, ...]:
    """What a class derives from, as it is written.

    `class X(X)` and `class X(lib.X)` derive from somebody else's `X`: a class of this file is named by a plain name,
    and is never its own base.
    """
    names = (dotted(argument.value) for argument in node.bases)
    return tuple(f"...{name}" if name == node.name.value else name for name in names if name)


def closure(
    start: str, members: dict[str, dict[str, Member]], bases: dict[str, tuple[str, ...]], tree: Tree
) -> list[str]:
    """Classes that `start` reaches: what it builds, what it inherits, in the order of the file."""
    tables = _tables(tree)
    seen: set[str] = set()
    pending = [start]
    while pending:
        name = pending.pop()
        if name in seen or name not in tree.classes:
            continue
        seen.add(name)
        pending += [cls for member in members[name].values() for cls in member.classes]
        pending += bases[name]
        # Classes picked from a table (`ATTENTION_CLASSES[...]`) are named in it, not in `__init__`.
        init = methods(tree.classes[name]).get("__init__")
        looked_up = filter(None, map(_looked_up_table, tree.nodes(init))) if init is not None else ()
        pending += [cls for table in set(looked_up) for cls in tables.get(table, ())]
    return [name for name in tree.classes if name in seen]


def _tables(tree: Tree) -> dict[str, list[str]]:
    """Names that each upper-case variable of the module is assigned with."""
    tables: dict[str, list[str]] = {}
    for statement in tree.statements:
        if isinstance(statement, cst.Assign):
            for target in statement.targets:
                if isinstance(target.target, cst.Name) and target.target.value.isupper():
                    named = [node.value for node in tree.nodes(statement.value) if isinstance(node, cst.Name)]
                    tables.setdefault(target.target.value, []).extend(named)
    return tables


def _looked_up_table(node: Node) -> str | None:
    """`TABLE` for `TABLE[...]`."""
    table = node.value if isinstance(node, cst.Subscript) else None
    return table.value if isinstance(table, cst.Name) and table.value.isupper() else None

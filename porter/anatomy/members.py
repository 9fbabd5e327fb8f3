"""What classes build and derive from, read from the functions that run when one is made, and from their bases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import libcst as cst

from porter.anatomy.data import Member
from porter.anatomy.mentions import ADDERS, Mention, Mentions, code_below, is_capitalized
from porter.tree import Function, Node, Tree
from porter.tree.functions import methods
from porter.tree.names import dotted, last_name, self_attribute
from porter.tree.values import text_of_constant

_MAKERS = frozenset({"_from_config", "from_config", "from_pretrained"})


@dataclass(frozen=True)
class Built:
    """What one class makes of others: `members` by name, and every class that its code may build, with the place."""

    members: dict[str, Member]
    own: dict[str, Node] = field(repr=False)  # classes of this file
    elsewhere: dict[str, Node] = field(repr=False)  # classes and functions of other files


def built_by(cls: cst.ClassDef, mentions: Mentions) -> Built:
    """Members are what `__init__` and the methods it calls set; what several branches assign is one member."""
    tree, own = mentions.tree, methods(cls)
    built = Built({}, {}, {})
    making = _run_when_made(own, tree)
    for function in making:
        scope = mentions.scope(function, cls)
        for name, value, is_list in _kept(function, tree):
            found = [*_called(value, tree), *mentions.of(value, scope)]
            _add_member(built, name, found, is_list)
            built.elsewhere.update({m.name: m.at for m in found if m.kind == "function"})
        for mention in mentions.of(function, scope):
            _add(built, mention)
    for function in own.values():  # later code may build what it calls by name
        if function not in making:
            for call in tree.nodes(function):
                named = _called_class(call)
                if named in tree.classes:
                    built.own.setdefault(named, call)
    built.own.pop(cls.name.value, None)
    return built


def _add(built: Built, mention: Mention) -> None:
    if mention.kind == "own":
        built.own.setdefault(mention.name, mention.at)
    elif mention.kind == "elsewhere":
        built.elsewhere.setdefault(mention.name, mention.at)


def _add_member(built: Built, name: str, found: list[Mention], is_list: bool) -> None:
    names = [mention.name for mention in found if mention.kind != "function"]
    known = built.members.get(name, Member(name, (), False))
    classes = dict.fromkeys((*known.classes, *(cls for cls in names if cls != "ModuleList")))
    built.members[name] = Member(name, tuple(classes), known.is_list or is_list or "ModuleList" in names)


def _run_when_made(own: dict[str, Function], tree: Tree) -> list[Function]:
    """`__init__` and the methods of the class that it calls."""
    found: list[Function] = []
    pending = [own[name] for name in ("__init__",) if name in own]
    while pending:
        function = pending.pop()
        if function in found:
            continue
        found.append(function)
        calls = (self_attribute(node.func) for node in tree.nodes(function) if node.__class__ is cst.Call)
        pending += [own[name] for name in calls if name in own]
    return found


def _kept(function: Function, tree: Tree) -> Iterator[tuple[str, Node, bool]]:
    """What is kept on `self`: the name, the value, whether it joins a list."""
    for node in code_below(function, tree):
        if isinstance(node, cst.Assign):
            for target in node.targets:
                yield from _set(target.target, node.value)
        elif isinstance(node, cst.AugAssign):
            yield from ((name, value, True) for name, value, _ in _set(node.target, node.value))
        elif isinstance(node, cst.AnnAssign) and node.value is not None:
            yield from _set(node.target, node.value)
        elif isinstance(node, cst.Call) and node.args:
            yield from _handed(node)


def _set(target: Node, value: Node) -> Iterator[tuple[str, Node, bool]]:
    name = self_attribute(target)
    if name:
        yield name, value, False
    elif isinstance(target, cst.Subscript) and (name := self_attribute(target.value)):
        yield name, value, True
    elif isinstance(target, cst.Tuple):
        parts = value.elements if isinstance(value, cst.Tuple) and len(value.elements) == len(target.elements) else None
        for number, element in enumerate(target.elements):
            yield from _set(element.value, parts[number].value if parts else value)


def _handed(call: cst.Call) -> Iterator[tuple[str, Node, bool]]:
    """`self.layers.append(X())`, `self.add_module("layer", X())`, `setattr(self, "layer", X())`."""
    func, value = call.func, call.args[-1].value
    if isinstance(func, cst.Attribute) and func.attr.value in ADDERS:
        name = self_attribute(func.value)
        if name:
            yield name, value, True
        elif dotted(func.value) == "self" and len(call.args) == 2:
            yield text_of_constant(call.args[0].value) or "*", value, False
    elif dotted(func) == "setattr" and len(call.args) == 3 and dotted(call.args[0].value) == "self":
        yield text_of_constant(call.args[1].value) or "*", value, False


def _called(value: Node, tree: Tree) -> Iterator[Mention]:
    """Whatever is called by a name that is spelled as a class's."""
    for node in tree.nodes(value):
        if node.__class__ is cst.Call:
            name = last_name(node.func)
            if name and name[0].isupper():
                yield Mention(name, "called", node)


def _called_class(node: Node) -> str | None:
    """The name that `X(...)` and `X._from_config(...)` build."""
    func = node.func if isinstance(node, cst.Call) else None
    if isinstance(func, cst.Attribute) and func.attr.value in _MAKERS:
        func = func.value
    return func.value if isinstance(func, cst.Name) and is_capitalized(func.value) else None


def bases_of(node: cst.ClassDef) -> tuple[str, ...]:
    """What a class derives from, as it is written.

    `class X(X)` and `class X(lib.X)` derive from somebody else's `X`: a class of this file is named by a plain name,
    and is never its own base.
    """
    names = (dotted(argument.value) for argument in node.bases)
    return tuple(f"...{name}" if name == node.name.value else name for name in names if name)

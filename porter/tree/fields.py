"""What of a LibCST node is code: the fields that a walk goes through, and those that are compared as plain values.

Whitespace, commas, parentheses, comments and the like are layout. Names that Python itself keeps as text (of an
attribute, a keyword, a parameter, an import) are values; a `Name` node that a walk meets is a variable, always.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from operator import attrgetter
from typing import Any

import libcst as cst

Node = cst.CSTNode
Function = cst.FunctionDef
Statement = cst.BaseSmallStatement | cst.BaseCompoundStatement

_LAYOUT = frozenset(
    {
        *("leading_lines", "lines_after_decorators", "header", "footer", "trailing_whitespace", "leading_whitespace"),
        *("lpar", "rpar", "lbracket", "rbracket", "lbrace", "rbrace", "comma", "semicolon", "equal", "dot", "colon"),
        *("first_colon", "second_colon", "posonly_ind", "indent", "separator", "trailing_comma", "start", "end"),
        *("default_indent", "default_newline", "has_trailing_newline", "encoding"),
    }
)
# What a field may hold that is no node. Kinds are compared: `isinstance` is slow, for LibCST's classes are abstract.
_PLAIN = frozenset({type(None), str, bool, cst.MaybeSentinel})
# Where Python's own tree has text, LibCST has nodes.
_TEXT: dict[type[Node], tuple[str, ...]] = {
    cst.Attribute: ("attr",),
    cst.Arg: ("keyword", "star"),
    cst.Param: ("name", "star"),
    cst.FunctionDef: ("name",),
    cst.ClassDef: ("name",),
    cst.Import: ("names",),
    cst.ImportFrom: ("module", "names", "relative"),
    cst.Global: ("names",),
    cst.Nonlocal: ("names",),
    cst.MatchKeywordElement: ("key",),
}
# Where LibCST's own order is not that of the text.
_WRITTEN: dict[type[Node], tuple[str, ...]] = {
    cst.FunctionDef: ("decorators", "asynchronous", "type_parameters", "params", "returns", "body"),
    cst.ClassDef: ("decorators", "type_parameters", "bases", "keywords", "body"),
    cst.MatchCase: ("pattern", "guard", "body"),
    cst.IfExp: ("body", "test", "orelse"),
}
# What Python evaluates last stands last: a walk in this order meets a value before the names it is bound to.
_ORDER: dict[type[Node], tuple[str, ...]] = {
    cst.Assign: ("value", "targets"),
    cst.AnnAssign: ("value", "target", "annotation"),
    cst.AugAssign: ("value", "operator", "target"),
    cst.NamedExpr: ("value", "target"),
    cst.IfExp: ("test", "body", "orelse"),
    cst.For: ("iter", "target", "body", "orelse", "asynchronous"),
    cst.CompFor: ("iter", "target", "ifs", "inner_for_in", "asynchronous"),
    cst.ListComp: ("for_in", "elt"),
    cst.SetComp: ("for_in", "elt"),
    cst.GeneratorExp: ("for_in", "elt"),
    cst.DictComp: ("for_in", "key", "value"),
}


@cache
def fields(kind: type[Node]) -> tuple[str, ...]:
    """Names of the fields that hold code, in the order of the text."""
    text = _TEXT.get(kind, ())
    names = (field.name for field in dataclasses.fields(kind))
    if kind is cst.NotEqual:
        return ()  # `!=` or `<>`
    if kind in _WRITTEN:
        return _WRITTEN[kind]
    return tuple(n for n in names if n not in _LAYOUT and n not in text and not n.startswith("whitespace"))


def children(node: Node) -> list[Node]:
    """The nodes right below, in the order of the text."""
    return _held(_getter(node.__class__)(node))


def evaluated(node: Node) -> list[Node]:
    """The same, in the order of evaluation."""
    names = _ORDER.get(node.__class__)
    return children(node) if names is None else _held(getattr(node, name) for name in names)


@cache
def _getter(kind: type[Node]) -> Callable[[Node], Iterable[Any]]:
    """What gives the values of the fields that hold code."""
    names = fields(kind)
    if len(names) > 1:
        return attrgetter(*names)
    return (lambda node: (getattr(node, names[0]),)) if names else (lambda node: ())


def _held(values: Iterable[Any]) -> list[Node]:
    found: list[Node] = []
    for value in values:
        kind = value.__class__
        if kind is list or kind is tuple:
            found += [item for item in value if item.__class__ not in _PLAIN]
        elif kind not in _PLAIN:
            found.append(value)
    return found


def walk(root: Node) -> Iterator[Node]:
    """A node and every node below it, in the order of the text."""
    pending = [root]
    while pending:
        node = pending.pop()
        yield node
        below = children(node)
        below.reverse()
        pending += below


def plain(value: object) -> object:
    """A field of `_TEXT` as text, tuples of text, or None where it is not there."""
    if isinstance(value, (tuple, list)):
        return tuple(plain(item) for item in value)
    if isinstance(value, cst.Attribute):
        return f"{plain(value.value)}.{value.attr.value}"
    if isinstance(value, cst.ImportAlias):
        return plain(value.name), plain(value.asname)
    if isinstance(value, (cst.AsName, cst.NameItem)):
        return plain(value.name)
    if isinstance(value, (cst.Name, str)):
        return value if isinstance(value, str) else value.value
    return type(value).__name__ if isinstance(value, (cst.Dot, cst.ImportStar)) else None


def texts(node: Node) -> tuple[object, ...]:
    """What Python's own tree keeps of a node as text: the name of an attribute, of a keyword, of an import."""
    found = tuple(plain(getattr(node, name)) for name in _TEXT.get(node.__class__, ()))
    if isinstance(node, cst.FormattedStringExpression):
        return (*found, node.equal is not None)
    return found

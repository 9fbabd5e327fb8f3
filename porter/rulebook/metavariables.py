"""What the signature of a `before` says of its metavariables: `mask: Argument`, `branch: Varying`.

Contract: an annotation is read by what it means through the imports of its file. One that means neither mark says
nothing; but none may hold a mark inside, or a name that nothing in the file binds: what it says would be lost. A
pattern has its `before` without annotations: they are no code to be found.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Iterator

import libcst as cst

from porter.rule import Argument, Varying
from porter.tree import Function, Node, Tree
from porter.tree.fields import walk
from porter.tree.functions import parameters_of
from porter.tree.names import dotted
from porter.tree.values import text_of_constant

Mark = type[Argument] | type[Varying]
_MARKS = {f"{mark.__module__}.{mark.__name__}": mark for mark in (Argument, Varying)}


def marked(mark: Mark, befores: Iterable[tuple[Function, Tree]]) -> tuple[str, ...]:
    """Metavariables that one of the spellings marks, in the order of the signatures."""
    found = (
        parameter.name.value
        for before, file in befores
        for parameter, annotation in _annotated(before)
        if _mark(annotation, file) is mark
    )
    return tuple(dict.fromkeys(found))


def fault_of_marks(before: Function, file: Tree) -> tuple[Node, str] | None:
    """A parameter whose annotation cannot be meant so, and why."""
    for parameter, annotation in _annotated(before):
        if _mark(annotation, file) is not None:
            continue
        says = f"`{before.name.value}` says that `{parameter.name.value}` is `{file.code(annotation)}`"
        if any(_mark(node, file) for node in walk(annotation)):
            return parameter, f"{says}: a mark stands alone"
        root = (_name(annotation) or "").partition(".")[0]
        if root and not file.module_bindings[root] and not hasattr(builtins, root):
            imported = " or ".join(f"`{mark.__name__}`" for mark in _MARKS.values())
            return parameter, f"{says}, which nothing here binds: import {imported} from `{Argument.__module__}`"
    return None


def unmarked(before: Function) -> Function:
    """The function without the annotations of its parameters."""
    if not any(_annotated(before)):
        return before
    params = before.params
    changes = {
        kind: [parameter.with_changes(annotation=None) for parameter in getattr(params, kind)]
        for kind in ("posonly_params", "params", "kwonly_params")
    }
    return before.with_changes(params=params.with_changes(**changes))


def _annotated(before: Function) -> Iterator[tuple[cst.Param, Node]]:
    return ((each, each.annotation.annotation) for each in parameters_of(before) if each.annotation is not None)


def _mark(annotation: Node, file: Tree) -> Mark | None:
    return _MARKS.get(file.qualified(_name(annotation) or "") or "")


def _name(annotation: Node) -> str | None:
    """A dotted name, written plainly or as a text."""
    return dotted(annotation) or text_of_constant(annotation)

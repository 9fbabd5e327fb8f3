"""Whether a function only passes a value on: binds it, puts it in a dict, hands it to a call by keyword."""

from __future__ import annotations

import ast

from porter.parse import Function


def looked_into(function: Function, sources: tuple[ast.expr, ...]) -> ast.AST | None:
    """The first use of the values that `sources` (names of functions) make which is more than passing them on."""
    parents = {child: node for node in ast.walk(function) for child in ast.iter_child_nodes(node)}
    names: set[str] = set()
    while True:
        uses = [*sources, *(n for n in ast.walk(function) if _reads(n, names))]
        bound: set[str] = set()
        for use in uses:
            node = _passed(use, parents)
            if node is None:
                return parents.get(use, use)
            bound |= _bound(node)
        if bound <= names:
            return None
        names |= bound


def _reads(node: ast.AST, names: set[str]) -> bool:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in names


def _passed(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> ast.AST | None:
    """The statement or call that takes the value; None where something is done to it first."""
    while True:
        parent = parents[node]
        if _takes(parent, node):
            return parent
        if not _hands_on(parent, node):
            return None
        node = parent


def _takes(parent: ast.AST, node: ast.AST) -> bool:
    if isinstance(parent, ast.Compare):
        return all(isinstance(op, (ast.Is, ast.IsNot)) for op in parent.ops)
    if isinstance(parent, ast.Subscript):
        return parent.value is node and isinstance(parent.ctx, ast.Store) and _is_key(parent.slice)
    is_type_test = isinstance(parent, ast.Call) and getattr(parent.func, "id", "") == "isinstance"
    return is_type_test or isinstance(parent, (ast.keyword, ast.Assign, ast.AnnAssign))


def _hands_on(parent: ast.AST, node: ast.AST) -> bool:
    """An expression whose value is, or holds, the same value."""
    if isinstance(parent, ast.Call):
        return parent.func is node  # the function itself: its result goes on
    if isinstance(parent, ast.Subscript):
        return parent.value is node and isinstance(parent.ctx, ast.Load) and _is_key(parent.slice)
    is_branch = isinstance(parent, ast.IfExp) and node is not parent.test
    is_entry = isinstance(parent, ast.Dict) and node in parent.values
    return is_branch or is_entry or isinstance(parent, ast.NamedExpr)


def _is_key(node: ast.expr) -> bool:
    """An index that picks an entry of a dict or list, not a slice of a tensor."""
    return not any(isinstance(part, (ast.Slice, ast.Tuple)) or _is_none(part) for part in ast.walk(node))


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _bound(node: ast.AST) -> set[str]:
    """Names that hold the value from here on."""
    if isinstance(node, ast.Assign):
        targets = [t.value if isinstance(t, ast.Subscript) else t for t in node.targets]
        return {t.id for t in targets if isinstance(t, ast.Name)}
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return {node.target.id}
    return set()

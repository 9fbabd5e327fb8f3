"""Whether a function only passes a value on: binds it, puts it in a dict, hands it to a call by keyword."""

from __future__ import annotations

import ast

from porter.parse import Function


def looked_into(function: Function, sources: tuple[ast.expr, ...]) -> ast.AST | None:
    """The first use of the values that `sources` (names of functions) make which is more than passing them on."""
    return _follow(function, sources, _parents(function))[1]


def made_elsewhere(function: Function, sources: tuple[ast.expr, ...], words: tuple[str, ...]) -> ast.AST | None:
    """A value handed on by a keyword with one of the words in its name that does not come from `sources`."""
    parents = _parents(function)
    names, _ = _follow(function, sources, parents)
    makers = {parents[source] for source in sources if isinstance(parents[source], ast.Call)}
    layers = _loop_variables(function) - names
    for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
        if call.func in sources or (isinstance(call.func, ast.Name) and call.func.id not in layers):
            continue  # what makes such values, and plain functions, take the source's own
        for keyword in call.keywords:
            is_named = keyword.arg is not None and any(word in keyword.arg for word in words)
            if is_named and not _comes_from(keyword.value, names, makers):
                return keyword.value
    return None


def _comes_from(node: ast.expr, names: set[str], makers: set[ast.AST]) -> bool:
    """Whether a value is held by one of the names, or an entry of what is, or made on the spot, or None."""
    root = node
    while isinstance(root, (ast.Subscript, ast.Attribute)):
        root = root.value
    return _is_none(root) or root in makers or (isinstance(root, ast.Name) and root.id in names)


def _loop_variables(function: Function) -> set[str]:
    """Names a `for` statement binds: what is called by one is a layer."""
    targets = (node.target for node in ast.walk(function) if isinstance(node, ast.For))
    return {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}


def _follow(
    function: Function, sources: tuple[ast.expr, ...], parents: dict[ast.AST, ast.AST]
) -> tuple[set[str], ast.AST | None]:
    """Names that hold what `sources` make, and the first use of it that is more than passing it on."""
    names: set[str] = set()
    misuse: ast.AST | None = None
    while True:
        bound: set[str] = set()
        for use in (*sources, *(node for node in ast.walk(function) if _reads(node, names))):
            taker = _passed(use, parents)
            if taker is not None:
                bound |= _bound(taker)
            elif misuse is None:
                misuse = parents.get(use, use)
        if bound <= names:
            return names, misuse
        names |= bound


def _parents(function: Function) -> dict[ast.AST, ast.AST]:
    return {child: node for node in ast.walk(function) for child in ast.iter_child_nodes(node)}


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

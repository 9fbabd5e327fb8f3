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


def made_elsewhere(function: Function, sources: tuple[ast.expr, ...], words: tuple[str, ...]) -> ast.AST | None:
    """A value handed on by a keyword with one of the words in its name that does not come from `sources`."""
    names, calls = _holders(function, sources)
    for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
        if isinstance(call.func, ast.Name) or call.func in sources:
            names_only = call.func.id if isinstance(call.func, ast.Name) else ""
            if names_only in names or call.func in sources or not _is_module_call(call, function):
                continue
        for keyword in call.keywords:
            if keyword.arg and any(word in keyword.arg for word in words):
                root = keyword.value
                while isinstance(root, (ast.Subscript, ast.Attribute)):
                    root = root.value
                is_none = isinstance(root, ast.Constant) and root.value is None
                if not is_none and getattr(root, "id", "") not in names and root not in calls:
                    return keyword.value
    return None


def _is_module_call(call: ast.Call, function: Function) -> bool:
    """Whether the callee is a loop's variable: a layer."""
    targets = (n.target for n in ast.walk(function) if isinstance(n, ast.For))
    variables = {n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)}
    return isinstance(call.func, ast.Name) and call.func.id in variables


def _holders(function: Function, sources: tuple[ast.expr, ...]) -> tuple[set[str], set[ast.AST]]:
    """Names that hold what `sources` make, and the calls that make it."""
    parents = {child: node for node in ast.walk(function) for child in ast.iter_child_nodes(node)}
    names: set[str] = set()
    while True:
        uses = [*sources, *(n for n in ast.walk(function) if _reads(n, names))]
        passed = [_passed(use, parents) for use in uses]
        bound = {name for node in passed if node is not None for name in _bound(node)}
        if bound <= names:
            return names, {parents[source] for source in sources if isinstance(parents[source], ast.Call)}
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

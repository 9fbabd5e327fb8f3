"""Whether a function only passes a value on: binds it, puts it in a dict, hands it to a call by keyword."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from porter.parse import Function, arguments_of


def looked_into(function: Function, sources: tuple[ast.expr, ...]) -> ast.AST | None:
    """The first use of the values that `sources` (names of functions) make which is more than passing them on."""
    return _follow(function, sources, _parents(function))[1]


def made_elsewhere(function: Function, sources: tuple[ast.expr, ...], words: tuple[str, ...]) -> ast.AST | None:
    """A value that does not come from `sources` where one of theirs belongs.

    It is bound to a name that holds theirs too, or handed on by a keyword with one of the words in its name, or to a
    layer as an argument of such a name.
    """
    parents = _parents(function)
    names, _ = _follow(function, sources, parents)
    makers = {parents[source] for source in sources if isinstance(parents[source], ast.Call)}
    for value in _values_of(function, names):
        if not _comes_from(value, names | _incoming(function), {*makers, *sources}) and not _makes(value, names):
            return value
    layers = _loop_variables(function) - names
    for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
        if call.func in sources or (isinstance(call.func, ast.Name) and call.func.id not in layers):
            continue  # what makes such values, and plain functions, take the source's own
        handed = [(keyword.arg or "", keyword.value) for keyword in call.keywords]
        if isinstance(call.func, ast.Name):
            handed += [(node.id, node) for node in call.args if isinstance(node, ast.Name)]
        for name, value in handed:
            if any(word in name for word in words) and not _comes_from(value, names, makers):
                return value
    return None


def _values_of(function: Function, names: set[str]) -> Iterator[ast.expr]:
    """What is bound to the names, or put into what they hold; both sides of a choice, every entry of a dict."""
    for node in ast.walk(function):
        if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.NamedExpr)) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            stored = {n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)}
            if stored & names:
                yield from _alternatives(node.value)


def _alternatives(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.IfExp):
        yield from (*_alternatives(node.body), *_alternatives(node.orelse))
    elif isinstance(node, ast.Dict):
        yield from (leaf for value in node.values for leaf in _alternatives(value))
    else:
        yield node


def _incoming(function: Function) -> set[str]:
    """Parameters: what a caller hands in is prepared as this function would."""
    return {arg.arg for arg in arguments_of(function)}


def _makes(node: ast.expr, names: set[str]) -> bool:
    """A call of what one of the names holds: one of the `sources` under another name."""
    return isinstance(node, ast.Call) and _comes_from(node.func, names, set())


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
    if isinstance(parent, (ast.Assign, ast.AnnAssign)):
        targets = parent.targets if isinstance(parent, ast.Assign) else [parent.target]
        return all(isinstance(target, (ast.Name, ast.Subscript)) for target in targets)
    is_type_test = isinstance(parent, ast.Call) and getattr(parent.func, "id", "") == "isinstance"
    return is_type_test or isinstance(parent, ast.keyword)


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

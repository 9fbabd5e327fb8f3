"""Whether a function only passes a value on: binds it, puts it in a dict, hands it to a call by keyword, or to a layer.

A lambda that makes it holds it, as a name does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import libcst as cst

from porter.tree import Function, Node, Tree
from porter.tree.fields import plain
from porter.tree.functions import parameter_names, statements
from porter.tree.names import dotted, is_variable, targets


def looked_into(
    function: Function, sources: Sequence[Node], tree: Tree, gone: Collection[Node] = frozenset()
) -> Node | None:
    """The first use of the values that `sources` (names of functions) make which is more than passing them on.

    What is `gone` after the rewrite may do with them what it likes, and only hands them on by the names it binds.
    """
    return _follow(function, sources, tree, gone)[1]


def made_elsewhere(
    function: Function,
    sources: Sequence[Node],
    words: tuple[str, ...],
    tree: Tree,
    gone: Collection[Node] = frozenset(),
) -> Node | None:
    """A value that does not come from `sources` where one of theirs belongs, in code that is not `gone`.

    It is bound to a name that holds theirs too, or handed on by a keyword with one of the words in its name, or to a
    layer as an argument of such a name.
    """
    names, _ = _follow(function, sources, tree, gone)
    makers = {tree.parents[source] for source in sources if isinstance(tree.parents[source], cst.Call)}
    incoming = parameter_names(function)  # what a caller hands in is prepared as this function would
    for value in _values_of(function, names, tree, _replaced(function, makers, tree)):
        known = value in gone or _comes_from(value, names | incoming, {*makers, *sources})
        if not known and not _makes(value, names):
            return value
    layers = _loop_variables(function, tree) - names
    names |= _bound_anew(function, tree, gone)
    for call in (node for node in tree.nodes(function) if isinstance(node, cst.Call)):
        plain_function = isinstance(call.func, cst.Name) and call.func.value not in layers
        if call in gone or call.func in sources or plain_function:
            continue  # what makes such values, and plain functions, take the source's own
        for name, value in _handed(call):
            if any(word in name for word in words) and not _comes_from(value, names, makers):
                return value
    return None


def _bound_anew(function: Function, tree: Tree, gone: Collection[Node]) -> set[str]:
    """Names that only code binds which is gone: the rewrite binds them."""
    binders = [node for node in tree.nodes(function) if isinstance(node, (cst.Assign, cst.AnnAssign, cst.AugAssign))]
    bound = {
        binder: {leaf.value for leaf in tree.nodes(binder) if isinstance(leaf, cst.Name) and leaf in tree.stored}
        for binder in binders
    }
    stays = {name for binder, names in bound.items() if binder not in gone for name in names}
    return {name for names in bound.values() for name in names} - stays


def _handed(call: cst.Call) -> Iterator[tuple[str, cst.BaseExpression]]:
    """Arguments with their names: of keywords, and of variables that a function called by a plain name takes."""
    for argument in call.args:
        if argument.keyword is not None or argument.star == "**":
            yield str(plain(argument.keyword) or ""), argument.value
    if isinstance(call.func, cst.Name):
        for argument in call.args:
            if argument.keyword is None and not argument.star and isinstance(argument.value, cst.Name):
                yield argument.value.value, argument.value


def _replaced(function: Function, makers: set[Node], tree: Tree) -> dict[Node, set[str]]:
    """Statements -> names that are bound anew behind them, on every way through the function, to what `makers` make."""
    later: set[str] = set()
    found: dict[Node, set[str]] = {}
    for statement in reversed(statements(function.body)):
        found |= {node: set(later) for node in tree.nodes(statement) if later}
        if isinstance(statement, cst.Assign) and statement.value in makers:
            later |= {item.target.value for item in statement.targets if isinstance(item.target, cst.Name)}
    return found


def _values_of(function: Function, names: set[str], tree: Tree, replaced: dict[Node, set[str]]) -> Iterator[Node]:
    """What is bound to the names, or put into what they hold; both sides of a choice, every entry of a dict.

    Without what is `replaced`: it is prepared for a maker, as what a caller hands in is.
    """
    for node in tree.nodes(function):
        if isinstance(node, (cst.Assign, cst.AnnAssign, cst.AugAssign, cst.NamedExpr)) and node.value is not None:
            bound = node.targets if isinstance(node, cst.Assign) else [node]
            leaves = [leaf for item in bound for leaf in targets(item)]
            held = {n.value for leaf in leaves for n in tree.nodes(leaf) if isinstance(n, cst.Name)} & names
            is_plain = all(isinstance(leaf, cst.Name) for leaf in leaves)
            if held - (replaced.get(node, set()) if is_plain else set()):
                yield from _alternatives(node.value)


def _alternatives(node: Node) -> Iterator[Node]:
    if isinstance(node, cst.IfExp):
        yield from (*_alternatives(node.body), *_alternatives(node.orelse))
    elif isinstance(node, cst.Lambda):
        yield from _alternatives(node.body)
    elif isinstance(node, cst.Dict):
        yield from (leaf for element in node.elements for leaf in _alternatives(element.value))
    else:
        yield node


def _makes(node: Node, names: set[str]) -> bool:
    """A call of what one of the names holds: one of the `sources` under another name."""
    return isinstance(node, cst.Call) and _comes_from(node.func, names, set())


def _comes_from(node: Node, names: set[str], makers: set[Node]) -> bool:
    """Whether a value is held by one of the names, or an entry of what is, or made on the spot, or None."""
    while isinstance(node, (cst.Subscript, cst.Attribute)):
        node = node.value
    return _is_none(node) or node in makers or (isinstance(node, cst.Name) and node.value in names)


def _loop_variables(function: Function, tree: Tree) -> set[str]:
    """Names a `for` statement binds: what is called by one is a layer."""
    loops = (node for node in tree.nodes(function) if isinstance(node, cst.For))
    return {leaf.value for loop in loops for leaf in targets(loop) if isinstance(leaf, cst.Name)}


def _follow(
    function: Function, sources: Sequence[Node], tree: Tree, gone: Collection[Node]
) -> tuple[set[str], Node | None]:
    """Names that hold what `sources` make, and the first use of it that is more than passing it on."""
    names: set[str] = set()
    misuse: Node | None = None
    reads = [node for node in tree.nodes(function) if isinstance(node, cst.Name) and tree.is_load(node)]
    layers = _loop_variables(function, tree)
    while True:
        bound: set[str] = set()
        for use in (*sources, *(node for node in reads if node.value in names)):
            taker = _taker(use, layers, tree)
            if taker is not None:
                bound |= _bound(taker)
            elif misuse is None and use not in gone:
                misuse = _visible_parent(use, tree)
        if bound <= names:
            return names, misuse
        names |= bound


def _visible_parent(node: Node, tree: Tree) -> Node:
    """The expression or statement around a node that a reader would point at."""
    wrappers = (cst.Arg, cst.Element, cst.Index, cst.SubscriptElement, cst.ComparisonTarget, cst.DictElement)
    parent = tree.parents[node]
    while isinstance(parent, wrappers):
        parent = tree.parents[parent]
    return parent if isinstance(parent, (cst.BaseExpression, cst.BaseSmallStatement)) else node


def _taker(node: Node, layers: set[str], tree: Tree) -> Node | None:
    """The statement or argument that takes the value; None where something is done to it first."""
    while True:
        parent = tree.parents[node]
        if _takes(parent, node, layers, tree):
            return parent
        if not _hands_on(parent, node, tree):
            return None
        node = parent


def _takes(parent: Node, node: Node, layers: set[str], tree: Tree) -> bool:
    if isinstance(parent, cst.ComparisonTarget):
        parent = tree.parents[parent]
    if isinstance(parent, cst.Comparison):
        return all(isinstance(item.operator, (cst.Is, cst.IsNot)) for item in parent.comparisons)
    if isinstance(parent, cst.Subscript):
        return parent.value is node and parent in tree.stored and _is_key(parent, tree)
    if isinstance(parent, cst.Assign):
        return all(isinstance(item.target, (cst.Name, cst.Subscript)) for item in parent.targets)
    if isinstance(parent, cst.AnnAssign):
        return isinstance(parent.target, (cst.Name, cst.Subscript))
    if isinstance(parent, cst.Arg):
        call = tree.parents[parent]
        is_type_test = isinstance(call, cst.Call) and dotted(call.func) == "isinstance"
        to_layer = isinstance(call, cst.Call) and isinstance(call.func, cst.Name) and call.func.value in layers
        return parent.keyword is not None or parent.star == "**" or ((is_type_test or to_layer) and not parent.star)
    return False


def _hands_on(parent: Node, node: Node, tree: Tree) -> bool:
    """An expression whose value is, or holds, the same value."""
    if isinstance(parent, cst.Call):
        return parent.func is node  # the function itself: its result goes on
    if isinstance(parent, cst.Lambda):
        return parent.body is node  # what makes it when it is called
    if isinstance(parent, cst.Subscript):
        return parent.value is node and parent not in tree.stored and _is_key(parent, tree)
    is_branch = isinstance(parent, cst.IfExp) and node is not parent.test
    is_entry = isinstance(parent, cst.DictElement) and node is parent.value
    return is_branch or is_entry or isinstance(parent, (cst.NamedExpr, cst.Dict))


def _is_key(subscript: cst.Subscript, tree: Tree) -> bool:
    """An index that picks an entry of a dict or list, not a slice of a tensor."""
    if len(subscript.slice) != 1:
        return False
    parts = tree.nodes(subscript.slice[0])
    return not any(isinstance(part, (cst.Slice, cst.Tuple)) or _is_none(part) for part in parts)


def _is_none(node: Node) -> bool:
    return isinstance(node, cst.Name) and node.value == "None"


def _bound(taker: Node) -> set[str]:
    """Names that hold the value from here on."""
    if isinstance(taker, cst.Assign):
        found = [item.target for item in taker.targets]
    else:
        found = [taker.target] if isinstance(taker, cst.AnnAssign) and isinstance(taker.target, cst.Name) else []
    held = [target.value if isinstance(target, cst.Subscript) else target for target in found]
    return {target.value for target in held if isinstance(target, cst.Name) and is_variable(target)}

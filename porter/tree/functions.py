"""Functions and blocks: parameters, defaults, statements without the lines and suites that hold them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import libcst as cst

from porter.tree.fields import Function, Node, Statement, children
from porter.tree.values import text_of_constant

_INNER_SCOPES = (cst.Lambda, cst.ListComp, cst.SetComp, cst.DictComp, cst.GeneratorExp)
_CLAUSES = (cst.If, cst.Else, cst.Finally, cst.ExceptHandler, cst.ExceptStarHandler, cst.MatchCase)
_SIMPLE = (cst.Assign, cst.AnnAssign, cst.AugAssign, cst.Expr, cst.Return)


def statements(suite: cst.BaseSuite | cst.Module) -> list[Statement]:
    """The statements of a block; several on one line are several."""
    if isinstance(suite, cst.SimpleStatementSuite):
        return list(suite.body)
    found: list[Statement] = []
    for item in suite.body:
        if isinstance(item, cst.SimpleStatementLine):
            found += item.body
        elif isinstance(item, cst.BaseCompoundStatement):
            found.append(item)
    return found


def is_docstring(statement: Node) -> bool:
    """A statement that is a string and nothing else."""
    return isinstance(statement, cst.Expr) and text_of_constant(statement.value) is not None


def body_of(function: Function) -> list[Statement]:
    """The statements of a function without its docstring."""
    body = statements(function.body)
    return body[1:] if body and is_docstring(body[0]) else body


def methods(node: cst.ClassDef) -> dict[str, Function]:
    """The functions of a class body by name."""
    return {item.name.value: item for item in statements(node.body) if isinstance(item, cst.FunctionDef)}


def positional(function: Function | cst.Lambda) -> list[cst.Param]:
    """The parameters that may be given by position."""
    return [*function.params.posonly_params, *function.params.params]


def parameters_of(function: Function | cst.Lambda) -> list[cst.Param]:
    """The parameters of a function, without `*args` and `**kwargs`."""
    return [*positional(function), *function.params.kwonly_params]


def parameter_names(function: Function | cst.Lambda) -> set[str]:
    """Names of the parameters, without `*args` and `**kwargs`."""
    return {parameter.name.value for parameter in parameters_of(function)}


def every_parameter(function: Function | cst.Lambda) -> set[str]:
    """Names of the parameters, those of `*args` and `**kwargs` too."""
    stars = (function.params.star_arg, function.params.star_kwarg)
    return parameter_names(function) | {star.name.value for star in stars if isinstance(star, cst.Param)}


def default_values(function: Function) -> dict[str, cst.BaseExpression]:
    """Default of each positional parameter that has one."""
    return {p.name.value: p.default for p in positional(function) if p.default is not None}


def blocks(function: Function) -> Iterator[list[Statement]]:
    """Every block of a function, outermost first, without those of nested definitions."""
    pending = deque([body_of(function)])
    while pending:
        block = pending.popleft()
        yield block
        for statement in block:
            pending += [statements(suite) for suite in suites(statement)]


def suites(statement: Node) -> Iterator[cst.BaseSuite]:
    """The blocks right inside a compound statement; of `if`, those of its `elif` and `else` too."""
    if isinstance(statement, (cst.FunctionDef, cst.ClassDef)):
        return
    for child in children(statement):
        if isinstance(child, cst.BaseSuite):
            yield child
        elif isinstance(child, _CLAUSES):
            yield from suites(child)


def in_one_block(function: Function, nodes: Iterable[Node]) -> bool:
    """Whether the nodes stand in simple statements of one block, outside inner functions and comprehensions."""
    wanted = set(nodes)
    for block in blocks(function):
        simple = [statement for statement in block if isinstance(statement, _SIMPLE)]
        if wanted <= {node for statement in simple for node in _same_scope(statement)}:
            return True
    return False


def _same_scope(node: Node) -> Iterator[Node]:
    yield node
    for child in children(node):
        if not isinstance(child, _INNER_SCOPES):
            yield from _same_scope(child)

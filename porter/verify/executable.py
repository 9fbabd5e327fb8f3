"""A rule file as functions that run: what a proof executes, and porting never does.

Contract: the file is executed as a private module, under no name in `sys.modules`. Its `before*` and `after*` run as
written but for what a pattern leaves open:

- `...` as a statement does nothing; `...` among the arguments of a call, or as the value of one, is no argument;
- functions of a `statements` edit return their locals as a dict, unless they end in `return`;
- functions of an `expression` edit return its value, of an `expressions` edit the tuple of the values;
- optional parts are there, plainly written, but for those whose numbers are `absent` (see `porter.rulebook.optional`);
- what it takes from a shared file is as if it stood in the rule file;
- a name defined only as `given_<name>` is that function, where it is complete.
"""

from __future__ import annotations

import ast
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import libcst as cst
import torch
from torch import nn

from porter.npu import torch_npu
from porter.npu.own import register_text
from porter.rulebook import LoadedRule
from porter.rulebook.markers import is_gap
from porter.rulebook.optional import parts_of, without
from porter.rulebook.shared import Taken, is_of_rules
from porter.tree.fields import walk

Function = Callable[..., Any]


@dataclass
class Executable:
    """The functions of a rule file. `ran` grows with each `before*` and `after*` that is called.

    `absent` are the numbers of the optional parts that they are without.
    """

    functions: dict[str, Function]
    ran: set[str] = field(default_factory=set)
    absent: frozenset[int] = frozenset()

    def get(self, name: str) -> Function | None:
        return self.functions.get(name)


def execute(rule: LoadedRule, absent: frozenset[int] = frozenset()) -> Executable:
    """Run the rule file, its patterns without some of their optional parts. Raises whatever the file raises."""
    tree = ast.parse(rule.tree.text)
    tree.body = [_chosen(node, rule, absent) for node in tree.body if not _is_taking(node)]
    units = {
        function.name.value: loaded.edit.unit
        for loaded in rule.edits
        for pattern in loaded.patterns
        for function in (pattern.before, pattern.after)
        if function is not None
    }
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name in units:
            _complete(node, units[node.name])
    module = types.ModuleType(f"_proof_of_{rule.name}")
    module.__dict__.update(torch=torch, nn=nn, torch_npu=torch_npu)
    for file in rule.ops:
        register_text(file.text, file.module)
    for taken in rule.code.taken:
        alone = _taken_alone(taken)
        for node in alone.body:
            if isinstance(node, ast.FunctionDef) and node.name in units:
                _complete(node, units[node.name])
        exec(compile(ast.fix_missing_locations(alone), taken.file.display, "exec"), module.__dict__)
    exec(compile(ast.fix_missing_locations(tree), rule.path, "exec"), module.__dict__)
    for name, patterns in rule.given.items():
        if not any(is_gap(node) for node in walk(patterns[0].before)):
            module.__dict__.setdefault(name, module.__dict__[patterns[0].name])
    loaded_functions = {name: value for name, value in module.__dict__.items() if callable(value)}
    executable = Executable(loaded_functions, absent=absent)
    for name in units:
        module.__dict__[name] = loaded_functions[name] = _recorded(name, loaded_functions[name], executable.ran)
    return executable


def _chosen(node: ast.stmt, rule: LoadedRule, absent: frozenset[int]) -> ast.stmt:
    """A function of the rule with its optional parts chosen; any other statement as it is."""
    written = rule.tree.functions.get(node.name) if isinstance(node, ast.FunctionDef) else None
    if written is None or not parts_of(written):
        return node
    alone = ast.parse(cst.Module([]).code_for_node(without(written, absent).with_changes(leading_lines=())))
    return ast.increment_lineno(alone, node.lineno - 1).body[0]


def call(function: Function, arguments: dict[str, Any]) -> Any:
    """Call with those of the arguments it has parameters for; the others are globals of that call."""
    inner = getattr(function, "__wrapped__", function)
    code = inner.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    given = {name: value for name, value in arguments.items() if name in names}
    if code.co_flags & 0x08:  # CO_VARKEYWORDS: the argument of that name is what it gathers
        star = code.co_varnames[code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 0x04)]
        given.update(arguments.get(star) or {})
    rest = {name: value for name, value in arguments.items() if name not in given}
    if rest:
        seen = types.FunctionType(code, {**inner.__globals__, **rest}, inner.__name__, inner.__defaults__)
        seen.__kwdefaults__ = inner.__kwdefaults__
        function.__dict__["ran"].add(inner.__name__)
        return seen(**given)
    return function(**given)


def _recorded(name: str, function: Function, ran: set[str]) -> Function:
    def recorded(*args: Any, **kwargs: Any) -> Any:
        ran.add(name)
        return function(*args, **kwargs)

    recorded.__dict__.update(__wrapped__=function, ran=ran)
    return recorded


def _taken_alone(taken: Taken) -> ast.Module:
    """A shared file with no more than its imports and the functions that the rule takes."""
    nodes = ast.parse(taken.file.text).body
    wanted = {function.name.value for function in taken.functions}
    imports = [node for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom))]
    return ast.Module([*imports, *(n for n in nodes if isinstance(n, ast.FunctionDef) and n.name in wanted)], [])


def _is_taking(node: ast.stmt) -> bool:
    """Whether a statement takes functions from a shared file: those are put in by `_taken_alone`."""
    return isinstance(node, ast.ImportFrom) and is_of_rules(node.module or "", node.level)


def _is_open(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is Ellipsis


class _WithoutGaps(ast.NodeTransformer):
    """Drops what a pattern leaves open in a call."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        node.args = [arg for arg in node.args if not _is_open(arg)]
        node.keywords = [keyword for keyword in node.keywords if not _is_open(keyword.value)]
        return self.generic_visit(node)


def _complete(function: ast.FunctionDef, unit: str) -> None:
    _WithoutGaps().visit(function)
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    if unit == "statements" and not isinstance(body[-1], ast.Return):
        function.body = [*body, *ast.parse("return dict(locals())").body]
    elif unit == "expression" and isinstance(body[-1], ast.Expr):
        function.body = [*body[:-1], ast.Return(body[-1].value)]
    elif unit == "expressions":
        expressions = [node.value for node in body if isinstance(node, (ast.Expr, ast.Return)) and node.value]
        values = [value for value in expressions if not _is_open(value)]
        first = [node for node in body if not isinstance(node, (ast.Expr, ast.Return))]
        function.body = [*first, ast.Return(ast.Tuple(values, ast.Load()))]

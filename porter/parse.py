"""Source text -> syntax tree with positions, an index of what the module defines, and a version for every name.

The tree is Python's own `ast`: comments, blank lines, quotes and parentheses are not in it, so they cannot count in a
match, and every node knows its place. The text stays the only concrete form: a rewrite replaces byte ranges of it and
touches nothing else.

`versions` says what a *version* is.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from porter.diagnostics import Diagnostic, Refused, Span
from porter.versions import Function as Function
from porter.versions import number_names


@dataclass(frozen=True)
class Import:
    """One bound name: `from module import name as bound` (level counts the dots) or `import module as bound`."""

    bound: str
    module: str
    level: int
    name: str | None
    node: ast.Import | ast.ImportFrom = field(compare=False, repr=False)


@dataclass(frozen=True)
class Parsed:
    """A parsed file. Offsets are bytes into `data`, the UTF-8 text."""

    display: str
    data: bytes
    tree: ast.Module = field(repr=False)

    @cached_property
    def _line_starts(self) -> tuple[int, ...]:
        starts = [0]
        for line in self.data.splitlines(keepends=True):
            starts.append(starts[-1] + len(line))
        return tuple(starts)

    @cached_property
    def classes(self) -> dict[str, ast.ClassDef]:
        return {node.name: node for node in self.tree.body if isinstance(node, ast.ClassDef)}

    @cached_property
    def functions(self) -> dict[str, Function]:
        return {node.name: node for node in self.tree.body if isinstance(node, Function)}

    @cached_property
    def imports(self) -> dict[str, Import]:
        return {item.bound: item for node in self.tree.body for item in _imports_of(node)}

    @cached_property
    def versions(self) -> dict[ast.AST, int]:
        """The version of every `Name` inside a function."""
        versions: dict[ast.AST, int] = {}
        for function in self.all_functions():
            number_names(function, versions)
        return versions

    @cached_property
    def _walked(self) -> dict[ast.AST, tuple[ast.AST, ...]]:
        return {}

    def nodes(self, root: ast.AST) -> tuple[ast.AST, ...]:
        """Every node below `root` and itself, walked once."""
        found = self._walked.get(root)
        if found is None:
            found = self._walked[root] = tuple(ast.walk(root))
        return found

    @cached_property
    def names(self) -> frozenset[str]:
        """Every name and attribute that occurs."""
        return frozenset(getattr(node, "attr", getattr(node, "id", "")) for node in self.nodes(self.tree))

    @cached_property
    def module_bindings(self) -> Counter[str]:
        """How often each name is bound outside functions and classes, under conditions too."""
        found: Counter[str] = Counter(item.bound for item in self.imports.values())
        pending: list[ast.AST] = list(self.tree.body)
        while pending:
            node = pending.pop()
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                found[node.name] += 1
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found[node.id] += 1
            elif not isinstance(node, (ast.Lambda, ast.Import, ast.ImportFrom)):
                pending += ast.iter_child_nodes(node)
        return found

    @cached_property
    def comments(self) -> tuple[tuple[int, int, str], ...]:
        """Every comment as (start, end, text)."""
        reader = io.BytesIO(self.data).readline
        found = []
        for token in tokenize.tokenize(reader):
            if token.type == tokenize.COMMENT:
                line = self.data[self._line_starts[token.start[0] - 1] :].split(b"\n", 1)[0].decode()
                start = self._line_starts[token.start[0] - 1] + len(line[: token.start[1]].encode())
                found.append((start, start + len(token.string.encode()), token.string))
        return tuple(found)

    def all_functions(self) -> Iterator[Function]:
        """Module functions, then methods."""
        yield from self.functions.values()
        for node in self.classes.values():
            yield from methods(node).values()

    def range(self, node: ast.AST) -> tuple[int, int]:
        """(start, end) of a node, in bytes."""
        start = self._line_starts[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]
        return start, self._line_starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]

    def text(self, node: ast.AST) -> str:
        """The node as it is written."""
        start, end = self.range(node)
        return self.data[start:end].decode()

    def line_of(self, offset: int) -> int:
        """The line, from 1, that holds a byte offset."""
        return self.data.count(b"\n", 0, offset) + 1

    def line_start(self, offset: int) -> int:
        """Where the line that holds a byte offset starts."""
        return self.data.rfind(b"\n", 0, offset) + 1

    def span(self, node: ast.AST) -> Span:
        """The node's place for a message: columns in characters."""
        start, end = self.range(node)
        column = len(self.data[self.line_start(start) : start].decode())
        end_column = len(self.data[self.line_start(end) : end].decode())
        return Span(self.display, self.line_of(start), column, self.line_of(end), end_column)


def parse(text: str, display: str, file: Path | None = None) -> Parsed | Refused:
    """Parse one file; a syntax error comes back located."""
    text = text.replace("\r\n", "\n")
    if "\n\t" in text:
        line = text[: text.index("\n\t")].count("\n") + 2
        span = Span(str(file or display), line, 0, line, 1)
        message = "tabs for indentation: rules are written with spaces, and the two do not mix"
        return Refused((Diagnostic("P012", message, span, help="indent the file with spaces, then convert it"),))
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        column = (getattr(error, "offset", None) or 1) - 1
        span = Span(str(file or display), line, column, line, column + 1)
        message = getattr(error, "msg", None) or str(error)
        help_text = "mend the syntax of this file; porter reads Python as this interpreter does"
        return Refused((Diagnostic("P011", f"not valid Python: {message}", span, help=help_text),))
    return Parsed(display, text.encode(), tree)


def methods(node: ast.ClassDef) -> dict[str, Function]:
    """The functions of a class body by name."""
    return {item.name: item for item in node.body if isinstance(item, Function)}


def body_of(function: Function) -> list[ast.stmt]:
    """The statements of a function without its docstring."""
    body = function.body
    first = body[0] if body else None
    is_constant = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return body[1:] if is_constant and isinstance(first.value.value, str) else body  # type: ignore[union-attr]


def arguments_of(function: Function) -> list[ast.arg]:
    """The parameters of a function, without `*args` and `**kwargs`."""
    return [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]


def stored_names(node: ast.AST) -> set[str]:
    """Names that are assigned below a node."""
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def defaults_of(function: Function) -> dict[str, ast.expr]:
    """Default of each positional parameter that has one."""
    arguments = [arg.arg for arg in (*function.args.posonlyargs, *function.args.args)]
    defaults = function.args.defaults
    return dict(zip(arguments[len(arguments) - len(defaults) :], defaults, strict=True))


def dotted(node: ast.AST) -> str | None:
    """`a.b.c` for a chain of attributes on a name, else None."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        head = dotted(node.value)
        return f"{head}.{node.attr}" if head else None
    return None


def decorator_name(decorator: ast.expr) -> str:
    """The last name of what decorates: `no_grad` for `@torch.no_grad()`."""
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return (dotted(called) or "").split(".")[-1]


def self_attribute(node: ast.AST) -> str | None:
    """The attribute's name for `self.name`, else None."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
        return node.attr
    return None


def blocks(function: Function) -> Iterator[list[ast.stmt]]:
    """Every statement list of a function, outermost first, without nested definitions."""
    pending: list[list[ast.stmt]] = [body_of(function)]
    while pending:
        block = pending.pop(0)
        yield block
        for statement in block:
            if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                continue
            for name in ("body", "orelse", "finalbody"):
                inner = getattr(statement, name, None)
                if inner:
                    pending.append(inner)
            pending += [handler.body for handler in getattr(statement, "handlers", ())]


def in_one_block(function: Function, nodes: list[ast.expr]) -> bool:
    """Whether the nodes stand in simple statements of one block, outside inner functions and comprehensions."""
    wanted = set(nodes)
    for block in blocks(function):
        simple = [s for s in block if isinstance(s, (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Expr, ast.Return))]
        if wanted <= {node for statement in simple for node in _same_scope(statement)}:
            return True
    return False


def _same_scope(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    inner = (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, inner):
            yield from _same_scope(child)


def _imports_of(node: ast.stmt) -> Iterator[Import]:
    if isinstance(node, ast.ImportFrom):
        for alias in node.names:
            yield Import(alias.asname or alias.name, node.module or "", node.level, alias.name, node)
    elif isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.asname or alias.name.split(".")[0], alias.name, 0, None, node)
    elif isinstance(node, (ast.Try, ast.If)):
        for inner in [*node.body, *node.orelse, *(s for h in getattr(node, "handlers", ()) for s in h.body)]:
            yield from _imports_of(inner)

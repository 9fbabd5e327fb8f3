"""A version for every name: which assignment it refers to.

0 is the value the function was called with (or a global), n the n-th assignment in the order of the text. Two uses of
one name with one version are the same value in straight-line code; a loop or branch counts as written.
"""

from __future__ import annotations

import ast

Function = ast.FunctionDef | ast.AsyncFunctionDef


def number_names(function: Function, versions: dict[ast.AST, int]) -> None:
    """Add the version of every `Name` in the body of `function` to `versions`."""
    visitor = _Versions(versions)
    for statement in function.body:
        visitor.visit(statement)


class _Versions(ast.NodeVisitor):
    """Number names in evaluation order: a value is read before its target is written."""

    def __init__(self, versions: dict[ast.AST, int]) -> None:
        self.versions = versions
        self.current: dict[str, int] = {}

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store):
            self.current[node.id] = self.current.get(node.id, 0) + 1
        self.versions[node] = self.current.get(node.id, 0)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self.visit(target)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)
        self.visit(node.target)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        self.visit(node.target)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.visit(node.value)
        self.visit(node.target)

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        if isinstance(node.func, ast.Attribute) and node.func.attr.endswith("_") and node.func.attr[0] != "_":
            self._changed_in_place(node.func.value)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.generic_visit(node)
        if not isinstance(node.ctx, ast.Load):
            self._changed_in_place(node.value)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.generic_visit(node)
        if not isinstance(node.ctx, ast.Load):
            self._changed_in_place(node.value)

    def _changed_in_place(self, node: ast.expr) -> None:
        """What a name holds is another value from here on; `self` stays itself."""
        while isinstance(node, (ast.Attribute, ast.Subscript)):
            node = node.value
        if isinstance(node, ast.Name) and node.id != "self":
            self.current[node.id] = self.current.get(node.id, 0) + 1

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._enter(node.args)
        self.visit(node.body)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._enter(node.args)
        for statement in node.body:
            self.visit(statement)

    visit_AsyncFunctionDef = visit_FunctionDef  # type: ignore[assignment]

    def _enter(self, arguments: ast.arguments) -> None:
        """A parameter of an inner function is another value than the name outside."""
        for arg in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            self.current[arg.arg] = self.current.get(arg.arg, 0) + 1

    def visit_For(self, node: ast.For) -> None:
        self.visit(node.iter)
        self.visit(node.target)
        for statement in [*node.body, *node.orelse]:
            self.visit(statement)

    def _visit_comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> None:
        for generator in node.generators:
            self.visit(generator.iter)
            self.visit(generator.target)
            for condition in generator.ifs:
                self.visit(condition)
        for part in ("key", "value", "elt"):
            if hasattr(node, part):
                self.visit(getattr(node, part))

    visit_ListComp = visit_SetComp = visit_GeneratorExp = visit_DictComp = _visit_comprehension

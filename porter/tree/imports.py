"""Imports of a module: the names they bind, and what a dotted name means by them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import libcst as cst

from porter.tree.fields import Node, plain
from porter.tree.functions import statements, suites


@dataclass(frozen=True)
class Import:
    """One bound name: `from module import name as bound` (level counts the dots) or `import module as bound`."""

    bound: str
    module: str
    level: int
    name: str | None
    node: cst.Import | cst.ImportFrom = field(compare=False, repr=False)

    def qualified(self, package: str | None) -> str | None:
        """The full dotted name of what is bound; None where it hangs on a package that is not known."""
        if self.name is None:  # `import a.b` binds `a`, `import a.b as c` binds `a.b`
            return self.module if "." not in self.module or self.bound != self.module.split(".")[0] else self.bound
        module = absolute(self.module, self.level, package)
        return f"{module}.{self.name}" if module else None


def absolute(module: str, level: int, package: str | None) -> str | None:
    """The full name of a module imported in a file of `package` behind so many dots; None where they lead out."""
    if not level:
        return module
    parts = package.split(".") if package else []
    if len(parts) < level:
        return None
    head = parts[: len(parts) - level + 1]
    return ".".join([*head, *([module] if module else [])])


def module_named(node: cst.ImportFrom) -> tuple[str, int]:
    """The module of `from ... import`, and the number of dots before it."""
    return str(plain(node.module) or ""), len(node.relative)


def imports_of(statement: Node) -> Iterator[Import]:
    """What a statement of a module imports, under `if` and `try` too; not what a function or class does for itself."""
    if isinstance(statement, cst.ImportFrom):
        module, level = module_named(statement)
        if isinstance(statement.names, cst.ImportStar):
            yield Import("*", module, level, "*", statement)
            return
        for alias in statement.names:
            yield Import(bound_by(alias), module, level, alias.evaluated_name, statement)
    elif isinstance(statement, cst.Import):
        for alias in statement.names:
            yield Import(bound_by(alias), alias.evaluated_name, 0, None, statement)
    elif isinstance(statement, cst.BaseCompoundStatement):
        for suite in suites(statement):
            for inner in statements(suite):
                yield from imports_of(inner)


def bound_by(alias: cst.ImportAlias) -> str:
    """The name that one alias of an import binds."""
    return alias.evaluated_alias or alias.evaluated_name.split(".")[0]

"""Which modules beside a file it imports: the names behind the single dot of its relative imports."""

from __future__ import annotations

import libcst as cst

from porter.diagnostics import Refused
from porter.source.depth import room_to_recurse
from porter.source.python import check_python


def modules_beside(text: str) -> set[str]:
    """Names of modules beside this one; none from a text that is not Python: parsing it has the better message."""
    text = text.replace("\r\n", "\n")
    if "import" not in text or isinstance(check_python(text, ""), Refused):
        return set()
    with room_to_recurse():
        try:
            found = _Beside()
            cst.parse_module(text).visit(found)
        except cst.ParserSyntaxError:
            return set()
    return found.names


class _Beside(cst.CSTVisitor):
    """Collects what relative imports of one dot name, wherever they stand."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def visit_ImportFrom(self, node: cst.ImportFrom) -> None:
        if len(node.relative) == 1:
            self.names |= named_beside(node)


def named_beside(node: cst.ImportFrom) -> set[str]:
    """The modules that a relative import takes from its own folder."""
    if node.module is not None:
        root: cst.BaseExpression = node.module
        while isinstance(root, cst.Attribute):
            root = root.value
        return {root.value} if isinstance(root, cst.Name) else set()
    names = () if isinstance(node.names, cst.ImportStar) else node.names
    return {alias.name.value for alias in names if isinstance(alias.name, cst.Name)}

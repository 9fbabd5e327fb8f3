"""Which modules beside a file it imports: behind the single dot of its relative imports, or by their bare name.

Python looks beside a script before it looks anywhere else but in itself, so `from configuration_x import XConfig` may
mean a file beside; whether there is one is for the caller to say.
"""

from __future__ import annotations

import sys

import libcst as cst

from porter.diagnostics import Refused
from porter.source.depth import room_to_recurse
from porter.source.python import check_python


def modules_beside(text: str) -> set[str]:
    """Names that may be of modules beside this one.

    None from a text that is not Python: parsing it has the better message.
    """
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
    """Collects what relative imports of one dot and imports of bare names name, wherever they stand."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def visit_ImportFrom(self, node: cst.ImportFrom) -> None:
        if len(node.relative) == 1:
            self.names |= named_beside(node)
        elif (name := bare_module(node)) is not None:
            self.names.add(name)

    def visit_Import(self, node: cst.Import) -> None:
        self.names |= {name for alias in node.names if (name := bare_name(alias.name)) is not None}


def bare_module(node: cst.ImportFrom) -> str | None:
    """`x` for `from x import ...`, which may mean a file beside."""
    return bare_name(node.module) if node.module is not None and not node.relative else None


def bare_name(node: cst.BaseExpression) -> str | None:
    """A name without dots that is no module of Python itself."""
    is_bare = isinstance(node, cst.Name) and node.value not in sys.stdlib_module_names
    return node.value if is_bare and isinstance(node, cst.Name) else None


def named_beside(node: cst.ImportFrom) -> set[str]:
    """The modules that a relative import takes from its own folder."""
    if node.module is not None:
        root: cst.BaseExpression = node.module
        while isinstance(root, cst.Attribute):
            root = root.value
        return {root.value} if isinstance(root, cst.Name) else set()
    names = () if isinstance(node.names, cst.ImportStar) else node.names
    return {alias.name.value for alias in names if isinstance(alias.name, cst.Name)}

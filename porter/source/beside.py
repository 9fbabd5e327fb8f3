"""Which modules beside a file it imports: the names behind the single dot of its relative imports."""

from __future__ import annotations

import libcst as cst
from libcst import matchers as m

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
            module = cst.parse_module(text)
        except cst.ParserSyntaxError:
            return set()
        imports = m.findall(module, m.ImportFrom(relative=[m.Dot()]))
    return {name for node in imports if isinstance(node, cst.ImportFrom) for name in named_beside(node)}


def named_beside(node: cst.ImportFrom) -> set[str]:
    """The modules that a relative import takes from its own folder."""
    if node.module is not None:
        root: cst.BaseExpression = node.module
        while isinstance(root, cst.Attribute):
            root = root.value
        return {root.value} if isinstance(root, cst.Name) else set()
    names = () if isinstance(node.names, cst.ImportStar) else node.names
    return {alias.name.value for alias in names if isinstance(alias.name, cst.Name)}

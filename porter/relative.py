"""Relative imports of a file that belongs to no package: what they name has to lie beside it.

A port takes the files beside its source along, so that an import of one works in it as in the source. No other relative
import can: it would be found out when the port is loaded, so it is refused when it is made.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from porter.diagnostics import Diagnostic, Refused
from porter.parse import Parsed

if TYPE_CHECKING:
    from porter.source import Source


def modules_beside(text: str) -> set[str]:
    """Names of modules beside this one; none from a text that does not parse: `parse` has the better message."""
    tree = _tree(text)
    nodes = ast.walk(tree) if tree is not None else ()
    return {name for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 1 for name in _named(node)}


def check_importable(source: Source) -> Refused | None:
    """P004 for a file name that no import can say, P009 for relative imports of what is not beside the file."""
    if source.module is not None:
        return None
    if not source.path.stem.isidentifier():
        message = f"`{source.display}` cannot be imported: `{source.path.stem}` is no module name"
        return Refused((Diagnostic("P004", message, help="rename the file"),))
    there = {source.path.stem, *(sibling.path.stem for sibling in source.siblings)}
    texts = [(source.display, source.text), *((str(sibling.path), sibling.text) for sibling in source.siblings)]
    lost = [diagnostic for display, text in texts if (diagnostic := _lost(display, text, there)) is not None]
    return Refused(tuple(lost)) if lost else None


def _lost(display: str, text: str, there: set[str]) -> Diagnostic | None:
    """The first import of a file that cannot work, and the lines of the others.

    Only what runs whenever the module is imported: an import under `try` or `if` may fail, or never run.
    """
    tree = _tree(text)
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)] if tree is not None else []
    faults = [(node, *fault) for node in imports if (fault := _fault(node, there)) is not None]
    if tree is None or not faults:
        return None
    first, label, help = faults[0]
    parsed = Parsed(display, text.encode(), tree)
    message = f"`{parsed.text(first).splitlines()[0]}` cannot work in a port"
    others = ", ".join(str(node.lineno) for node, *_ in faults[1:])
    notes = (f"nor can the imports of line {others}",) if others else ()
    return Diagnostic("P009", message, parsed.span(first), label, notes, help)


def _fault(node: ast.ImportFrom, there: set[str]) -> tuple[str, str] | None:
    """What is wrong with an import, and what to do; None for one that works."""
    by_name = "import it by its full name, as in `from package.module import`"
    if node.level > 1:
        return "leads out of the file's folder, which no installed package holds", by_name
    if node.level == 1 and node.module and "." in node.module:
        return "only files of the same folder go with a port", by_name
    missing = sorted(_named(node) - there) if node.level else ()
    return (f"there is no `{missing[0]}.py` beside this file", "put that file there") if missing else None


def _named(node: ast.ImportFrom) -> set[str]:
    """The modules that a relative import takes from its own folder."""
    return {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}


def _tree(text: str) -> ast.Module | None:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError):
        return None

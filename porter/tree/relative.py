"""Relative imports of a file that belongs to no package: what they name has to lie beside it.

A port takes the files beside its source along, so that an import of one works in it as in the source. No other relative
import can: it would be found out when the port is loaded, so it is refused when it is made.
"""

from __future__ import annotations

from collections.abc import Collection

import libcst as cst

from porter.diagnostics import Diagnostic, Refused
from porter.source.beside import bare_name, named_beside
from porter.tree.imports import module_named
from porter.tree.module import Tree
from porter.tree.parse import parse


def lost_imports(text: str, display: str, there: Collection[str]) -> Diagnostic | None:
    """P009: the first import of a file that cannot work beside the modules `there`, and the lines of the others.

    Of a file that is no Python, what is wrong with it: the port could not import it either.
    Only what runs whenever the module is imported: an import under `try` or `if` may fail, or never run.
    """
    tree = parse(text, display)
    return tree.diagnostics[0] if isinstance(tree, Refused) else lost_imports_of(tree, there)


def lost_imports_of(tree: Tree, there: Collection[str]) -> Diagnostic | None:
    """The same for a file that is parsed."""
    imports = [node for node in tree.statements if isinstance(node, (cst.Import, cst.ImportFrom))]
    faults = [(node, *fault) for node in imports if (fault := _fault(node, there)) is not None]
    if not faults:
        return None
    first, label, help = faults[0]
    message = f"`{tree.code(first).splitlines()[0]}` cannot work in a port"
    others = ", ".join(str(tree.line(node)) for node, *_ in faults[1:])
    notes = (f"nor can the imports of line {others}",) if others else ()
    return Diagnostic("P009", message, tree.span(first), label, notes, help)


def _fault(node: cst.Import | cst.ImportFrom, there: Collection[str]) -> tuple[str, str] | None:
    """What is wrong with an import, and what to do; None for one that works."""
    if isinstance(node, cst.Import):
        among = [name for alias in node.names if (name := bare_name(alias.name)) in there]
        if not among or len(among) == len(node.names):
            return None
        return f"`{among[0]}` lies beside this file, and the others do not", "import it in a statement of its own"
    by_name = "import it by its full name, as in `from package.module import`"
    module, level = module_named(node)
    if level > 1:
        return "leads out of the file's folder, which no installed package holds", by_name
    if level == 1 and "." in module:
        return "only files of the same folder go with a port", by_name
    missing = sorted(named_beside(node) - set(there)) if level else ()
    return (f"there is no `{missing[0]}.py` beside this file", "put that file there") if missing else None

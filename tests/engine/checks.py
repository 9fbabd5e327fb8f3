"""What every port must be, asked of its text: it compiles, its global names are defined, no comment is lost."""

from __future__ import annotations

import builtins
import symtable
from collections import Counter

from porter.rewrite import Ported
from tests.engine.sources import comments

ALWAYS = {*dir(builtins), "__name__", "__file__", "__doc__"}


def undefined(code: str) -> set[str]:
    """Names that some scope reads from the module and the module never binds."""
    module = symtable.symtable(code, "code", "exec")
    bound = {s.get_name() for s in module.get_symbols() if s.is_assigned() or s.is_imported() or s.is_namespace()}
    scopes, read = [module], set()
    for scope in scopes:
        scopes += scope.get_children()
        symbols = [s for s in scope.get_symbols() if s.is_referenced() and (s.is_global() or scope is module)]
        read |= {symbol.get_name() for symbol in symbols}
    return read - bound - ALWAYS


def lost_comments(text: str, ported: Ported) -> Counter[str]:
    """Comments of the source that are not in the port, but for those inside helpers that were swept as a whole."""
    swept = {n for c in ported.changes if c.rule is None and c.end - c.start > 2 for n in range(c.start, c.end + 1)}
    lines = (line if number not in swept else "\n" for number, line in enumerate(text.split("\n"), start=1))
    return comments("".join(f"{line}\n" if line != "\n" else line for line in lines)) - comments(ported.code)


def assert_whole(text: str, ported: Ported) -> None:
    """The port of a text is a program with all its names and comments."""
    compile(ported.code, "port", "exec")
    assert not undefined(ported.code) - undefined(text)
    assert not lost_comments(text, ported)

"""Text -> a parsed module, or one located message why not."""

from __future__ import annotations

from pathlib import Path

import libcst as cst

from porter.diagnostics import Diagnostic, Refused, Span
from porter.source.depth import room_to_recurse
from porter.source.python import check_python
from porter.tree.module import Tree


def parse(text: str, display: str, file: Path | None = None, package: str | None = None) -> Tree | Refused:
    """Parse one file; lines that end in CR LF are read as lines. `file` is how a message about its syntax names it.

    P011 is Python's own verdict, P012 to P014 are limits of porter's (see `porter.source.python`); P015 is syntax that
    Python reads and LibCST does not.
    """
    text = text.replace("\r\n", "\n")
    name = str(file or display)
    fault = check_python(text, name)
    if fault is not None:
        return fault
    try:
        with room_to_recurse():
            module = cst.parse_module(text)
            tree = Tree(display, text, module, package)
    except cst.ParserSyntaxError as error:
        # Its tokenizer does not say where it stopped; what it stops at is a form feed that is part of an indentation.
        line = text[: text.index("\f")].count("\n") + 1 if "\f" in text else error.raw_line
        place = Span(name, line, error.raw_column, line, error.raw_column + 1)
        message = f"LibCST does not read this: {error.message.splitlines()[0]}"
        return Refused((Diagnostic("P015", message, place, help="write it as older Python does"),))
    return tree


def printed_as_read(tree: Tree) -> Refused | None:
    """P015 where the tree would not print as the text it was read from: what no rule touches must stay as it is."""
    if tree.places.text == tree.text:
        return None
    pairs = enumerate(zip(tree.text.split("\n"), tree.places.text.split("\n"), strict=False), start=1)
    line = next((number for number, (old, new) in pairs if old != new), 1)
    place = Span(tree.display, line, 0, line, 1)
    return Refused((Diagnostic("P015", "LibCST does not print this line as it is", place, help="rewrite that line"),))

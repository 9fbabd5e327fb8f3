"""A line of prose that is wider than the terminal, as the lines that it needs."""

from __future__ import annotations

import textwrap


def wrapped(line: str, width: int, hanging: int | None = None) -> list[str]:
    """The line, broken between words; a word that is wider than the terminal is broken too.

    hanging: where further lines begin; by default below what stands after the line's first wide gap, as in
    `sites      mlp.forward`, or its first `Word: `, or below its own beginning.
    """
    if len(line) <= width:
        return [line]
    if hanging is None:
        hanging = len(line) - len(line.lstrip())
        own = line[hanging:]
        head, gap, rest = own.partition("  ")
        if not gap or " " in head:
            head, gap, rest = own.partition(": ")
        if gap and len(head) < width // 4 and " " not in head:
            hanging = len(line) - len(rest.lstrip())
    indent = " " * min(hanging, width // 2)
    return textwrap.wrap(line, width, subsequent_indent=indent, break_on_hyphens=False, drop_whitespace=True)

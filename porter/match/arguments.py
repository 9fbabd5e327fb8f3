"""Which argument of a call stands for which of a pattern's: by position, then by keyword in any order."""

from __future__ import annotations

from dataclasses import dataclass

import libcst as cst

from porter.rulebook.markers import is_ellipsis, is_optional, is_rest
from porter.tree.fields import plain


@dataclass(frozen=True)
class Paired:
    """Pairs of arguments (the pattern's, the source's); `rest` is what `...` stands for, None where there is none."""

    pairs: tuple[tuple[cst.Arg, cst.Arg], ...]
    rest: tuple[cst.Arg, ...] | None


def pair_arguments(p: cst.Call, s: cst.Call) -> Paired | None:
    """The pairs, in the order of the pattern; None where an argument is missing or one is too many."""
    wanted, wanted_named = _split(p)
    given, left = _split(s)
    open_positions = bool(wanted) and is_ellipsis(wanted[-1].value)
    takes_rest = open_positions or any(map(is_rest, wanted_named))
    wanted = [argument for argument in wanted if not is_ellipsis(argument.value)]
    if len(wanted) > len(given) or any(a.star != b.star for a, b in zip(wanted, given, strict=False)):
        return None
    pairs = list(zip(wanted, given, strict=False))
    for argument in wanted_named:  # a `**` of the pattern takes one `**`, in order
        if is_rest(argument):
            continue
        found = next((item for item in left if plain(item.keyword) == plain(argument.keyword)), None)
        if found is None and is_optional(argument):
            continue
        if found is None:
            return None
        left.remove(found)
        if not is_optional(argument):
            pairs.append((argument, found))
    positions = given[len(wanted) :]
    if (positions and not open_positions) or (left and not takes_rest):
        return None
    return Paired(tuple(pairs), (*positions, *left) if takes_rest else None)


def _split(call: cst.Call) -> tuple[list[cst.Arg], list[cst.Arg]]:
    """Arguments by position, with `*`; arguments by keyword, with `**`."""
    named = [argument for argument in call.args if argument.keyword is not None or argument.star == "**"]
    return [argument for argument in call.args if argument not in named], named

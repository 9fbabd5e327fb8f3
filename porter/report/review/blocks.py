"""The hunks of a diff, in blocks: one rule at one class or function, those that share lines together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from porter.emit.patch import DiffHunk
from porter.report.review.values import Applied, Block, Hunk
from porter.rewrite import PARTS

Names = tuple[tuple[str, str], ...]


def hunks_of(hunks: Iterable[DiffHunk], applications: frozenset[tuple[str, str]]) -> tuple[Hunk, ...]:
    """The hunks with who did them, as (rule, site), and an anchor of each that stays while its place does."""
    found: list[Hunk] = []
    taken: set[str] = set()
    for hunk in hunks:
        names = tuple(_name(name, applications) for name in hunk.names)
        anchor = _anchor("-".join(filter(None, (*names[0], f"L{_first(hunk)}"))), taken)
        found.append(Hunk(anchor, names, hunk.lines))
    return tuple(found)


def _first(hunk: DiffHunk) -> int:
    """The line of the source that changes first, or that something is put before."""
    before = 0
    for line in hunk.lines:
        if line.mark != " ":
            return line.old or before + 1
        before = line.old or before
    return hunk.start


def _name(name: str, applications: frozenset[tuple[str, str]]) -> tuple[str, str]:
    """`swiglu LlamaMLP.forward` or `base class LlamaPreTrainedModel`, as its two halves."""
    rule, _, site = name.partition(" ")
    if (rule, site) in applications:
        return rule, site
    part = next((part for part in PARTS if name == part or name.startswith(f"{part} ")), name)
    return part, name.removeprefix(part).strip()


def _anchor(text: str, taken: set[str]) -> str:
    """A name for a link to it: letters, digits and dots alone."""
    plain = re.sub(r"[^\w.]+", "-", text).strip("-") or "hunk"
    name, number = plain, 2
    while name in taken:
        name, number = f"{plain}-{number}", number + 1
    taken.add(name)
    return name


def blocks_of(hunks: Sequence[Hunk], applied: Iterable[Applied]) -> tuple[tuple[Block, ...], tuple[Applied, ...]]:
    """Blocks of rules, then those of none, each in the order of the file; and applications that no hunk names."""
    rules = {each.rule for each in applied}
    groups: list[tuple[set[tuple[str, str]], list[Hunk]]] = []  # (rule, class or function) -> hunks
    for hunk in hunks:
        keys = {(name, _owner(site)) for name, site in hunk.names if name in rules}
        joined = [group for group in groups if group[0] & keys]
        group: tuple[set[tuple[str, str]], list[Hunk]] = (set(keys), [hunk])
        for other in reversed(joined):
            group[0].update(other[0])
            group[1][:0] = other[1]
        if joined:
            groups[groups.index(joined[0])] = group
        else:
            groups.append(group)
        groups = [each for each in groups if each is group or each not in joined[1:]]
    ordered = [*(group for group in groups if group[0]), *(group for group in groups if not group[0])]
    left = list(applied)
    blocks = tuple(_block(number, hunks, rules, left) for number, (_, hunks) in enumerate(ordered, start=1))
    return blocks, tuple(left)


def _block(number: int, hunks: Sequence[Hunk], rules: set[str], left: list[Applied]) -> Block:
    """Takes from `left` the applications that its hunks name."""
    hunks = sorted(hunks, key=lambda hunk: hunk.at)
    names = list(dict.fromkeys(name for hunk in hunks for name in hunk.names))
    here = tuple(each for each in left if (each.rule, each.site) in names)
    left[:] = [each for each in left if each not in here]
    return Block(
        number,
        f"block-{number}",
        tuple(dict.fromkeys(name for name, _ in names if name in rules)),
        tuple(dict.fromkeys(name for name, _ in names if name not in rules)),
        tuple(dict.fromkeys(site for _, site in names if site)),
        tuple(hunks),
        here,
    )


def _owner(site: str) -> str:
    return site.partition(".")[0]

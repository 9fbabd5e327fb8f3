"""Source text and port text -> a unified diff with one hunk per rule application, named after it.

`git apply` takes the diff and gives the port byte for byte. Hunks never overlap and each but the last of a file ends in
at least one unchanged line, which git wants. Where two applications changed touching lines they share a hunk that names
both. What no rule did is labelled by what it is: header and imports, a decorator, a base class, a definition unused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from porter.emit.lines import lines_of, opcodes
from porter.rewrite import IMPORTS, Change

_CONTEXT = 3


@dataclass(frozen=True)
class Block:
    """Old lines `[old_start, old_end)` became new lines `[new_start, new_end)`, counted from 0."""

    old_start: int
    old_end: int
    new_start: int
    new_end: int
    changes: frozenset[int] = frozenset()  # which of the changes


def diff(old: str, new: str, changes: Sequence[Change], path: str) -> str:
    """The diff of one file, `path` in it on both sides; empty where nothing differs."""
    old_lines, new_lines = lines_of(old), lines_of(new)
    rules = [change for change in changes if change.rule is not None]
    parts = [change for change in changes if change.rule is None]
    hunks = _hunks(_blocks(old_lines, new_lines, _Owners(rules)))
    if not hunks:
        return ""
    end = "\t" if " " in path else ""  # as git writes it: the name ends at the tab
    text = [f"--- a/{path}{end}\n", f"+++ b/{path}{end}\n"]
    for number, hunk in enumerate(hunks):
        floor = hunks[number - 1][-1].old_end if number else 0
        ceiling = hunks[number + 1][0].old_start if number + 1 < len(hunks) else len(old_lines)
        before = min(_CONTEXT, hunk[0].old_start - floor - _share(hunk[0].old_start - floor) * bool(number))
        after = _share(ceiling - hunk[-1].old_end) if number + 1 < len(hunks) else _CONTEXT
        text += _hunk_text(hunk, old_lines, new_lines, before, after, _label(hunk, rules, parts))
    return "".join(text)


def _share(room: int) -> int:
    """How many of the lines between two hunks the first one takes as its trailing context: one at least."""
    return min(_CONTEXT, (room + 1) // 2)


# --- which lines differ, and whose doing it is


class _Owners:
    """The changes by the lines they touch."""

    def __init__(self, changes: Sequence[Change]) -> None:
        self.changes = changes
        self.insertions = {change.start - 1 for change in changes if change.end < change.start}
        self.touched = {line for change in changes for line in range(change.start - 1, change.end)}
        self._near: dict[int, list[int]] = {}
        for number, change in enumerate(changes):
            for line in range(min(change.start - 1, change.end), max(change.start - 1, change.end) + 1):
                self._near.setdefault(line, []).append(number)

    def block(self, start: int, end: int, new_start: int, new_end: int) -> Block:
        """A differing stretch with the numbers of the changes that made it."""
        near = {number for line in range(start, end + 1) for number in self._near.get(line, ())}
        owners = frozenset(number for number in near if _meet(start, end, self.changes[number]))
        inserted = frozenset(n for n in owners if self.changes[n].end < self.changes[n].start == start + 1)
        if start == end and inserted:  # a neighbour that merely touches has no part in it
            owners = inserted
        return Block(start, end, new_start, new_end, owners)


def _blocks(old: list[str], new: list[str], owners: _Owners) -> Iterator[Block]:
    """Every differing stretch. Lines a rule changed are held back from the first comparison: they would match
    look-alikes elsewhere and tear an application apart."""
    held = [f"\0{number}" if number in owners.touched else line for number, line in enumerate(old)]
    for tag, start, end, new_start, new_end in opcodes(held, new, len(owners.changes)):
        if tag == "equal":
            continue
        gap = _slide(Block(start, end, new_start, new_end), old, new, owners.insertions)
        for inner_tag, i, j, k, m in opcodes(old[gap.old_start : gap.old_end], new[gap.new_start : gap.new_end]):
            if inner_tag != "equal":
                yield owners.block(gap.old_start + i, gap.old_start + j, gap.new_start + k, gap.new_start + m)


def _meet(start: int, end: int, change: Change) -> bool:
    first, last = change.start - 1, change.end  # as [first, last)
    if start == end or first >= last:  # an insertion belongs to what it touches
        return start <= max(first, last) and first <= end
    return max(start, first) < min(end, last)


def _slide(gap: Block, old: list[str], new: list[str], places: set[int]) -> Block:
    """An insertion of lines that repeat around it could stand a little higher or lower: put it where the rule says."""
    if gap.old_start != gap.old_end:
        return gap
    up = gap
    while up.old_start not in places and up.old_start and old[up.old_start - 1] == new[up.new_end - 1]:
        up = Block(up.old_start - 1, up.old_end - 1, up.new_start - 1, up.new_end - 1)
    if up.old_start in places:
        return up
    down = gap
    while down.old_start not in places and down.old_end < len(old) and old[down.old_end] == new[down.new_start]:
        down = Block(down.old_start + 1, down.old_end + 1, down.new_start + 1, down.new_end + 1)
    return down if down.old_start in places else gap


# --- hunks


def _hunks(blocks: Iterable[Block]) -> list[list[Block]]:
    """Blocks of one application together, others apart; those of no rule join as in any diff."""
    hunks: list[list[Block]] = []
    where: dict[int, int] = {}  # change -> the number of its hunk
    for block in blocks:
        known = [where[number] for number in block.changes if number in where]
        last = min(known) if known else _no_rules_before(block, hunks)
        if last is None:
            last = len(hunks)
            hunks.append([])
        for hunk in hunks[last + 1 :]:  # everything from there on lies between blocks of one application
            hunks[last] += hunk
            where.update(dict.fromkeys((number for one in hunk for number in one.changes), last))
        del hunks[last + 1 :]
        hunks[last].append(block)
        where.update(dict.fromkeys(block.changes, last))
    return hunks


def _no_rules_before(block: Block, hunks: list[list[Block]]) -> int | None:
    """The number of the hunk before, where both are no rule's and close to each other."""
    if not hunks or block.changes or hunks[-1][0].changes:
        return None
    return len(hunks) - 1 if block.old_start - hunks[-1][-1].old_end <= 2 * _CONTEXT else None


def _label(hunk: list[Block], rules: list[Change], parts: list[Change]) -> str:
    numbers = sorted({number for block in hunk for number in block.changes})
    names = [f"{rules[number].rule} {rules[number].site}".rstrip() for number in numbers]
    for block in (block for block in hunk if not block.changes):
        met = [part for part in parts if _meet(block.old_start, block.old_end, part)]
        names += [f"{part.part} {part.site}".rstrip() for part in met] or [IMPORTS]
    return "; ".join(dict.fromkeys(names)).replace("\n", " ")


def _hunk_text(hunk: list[Block], old: list[str], new: list[str], before: int, after: int, label: str) -> Iterator[str]:
    first, last = hunk[0], hunk[-1]
    start, new_start = first.old_start - before, first.new_start - before
    after = min(after, len(old) - last.old_end)
    old_count = last.old_end + after - start
    new_count = last.new_end + after - new_start
    yield f"@@ -{_range(start, old_count)} +{_range(new_start, new_count)} @@ {label}\n"
    yield from _marked(" ", old[start : first.old_start])
    for block, following in [*pairwise(hunk), (last, None)]:
        yield from _marked("-", old[block.old_start : block.old_end])
        yield from _marked("+", new[block.new_start : block.new_end])
        end = following.old_start if following else last.old_end + after
        yield from _marked(" ", old[block.old_end : end])


def _range(start: int, count: int) -> str:
    """Lines from 1; an empty range is named by the line before it."""
    return f"{start + 1 if count else start},{count}"


def _marked(mark: str, lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        yield mark + line if line.endswith("\n") else f"{mark}{line}\n\\ No newline at end of file\n"

"""Which lines of two texts are the same, in time that grows with their length and not with its square.

difflib compares where that is cheap. Elsewhere, lines that stand once in either text and in one order in both are held
fast, and what lies between them is compared; where that is dear too, and no line stands once, nothing is called equal.
"""

from __future__ import annotations

import difflib
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence

Opcode = tuple[str, int, int, int, int]  # "equal" or "replace", then [start, end) of the old and of the new lines

# difflib looks at every pair of equal lines once for each stretch that differs. So many looks are a quarter of a
# second, and no port of transformers 5.23 takes more than 2.7 million.
_LOOKS = 5_000_000


def lines_of(text: str) -> list[str]:
    """Lines with their ends. Not str.splitlines: git knows only the newline."""
    return [line + "\n" for line in text.split("\n")[:-1]] + ([last] if (last := text.split("\n")[-1]) else [])


def opcodes(old: Sequence[str], new: Sequence[str], changes: int = 1) -> Iterator[Opcode]:
    """How the old lines become the new ones: stretches that are equal and stretches that are not, in order.

    `changes` is how many stretches may differ.
    """
    at, new_at = 0, 0
    looks = max(1, _LOOKS // max(1, changes))
    same = _joined(_same(old, new, 0, len(old), 0, len(new), looks))
    for start, new_start, count in [*same, (len(old), len(new), 0)]:
        if at < start or new_at < new_start:
            yield "replace", at, start, new_at, new_start
        if count:
            yield "equal", start, start + count, new_start, new_start + count
        at, new_at = start + count, new_start + count


def _joined(matches: Iterator[tuple[int, int, int]]) -> Iterator[tuple[int, int, int]]:
    """Equal stretches, each as long as it gets."""
    held = (0, 0, 0)
    for start, new_start, count in matches:
        if (start, new_start) == (held[0] + held[2], held[1] + held[2]):
            held = (held[0], held[1], held[2] + count)
            continue
        if held[2]:
            yield held
        held = (start, new_start, count)
    if held[2]:
        yield held


def _same(
    old: Sequence[str], new: Sequence[str], start: int, end: int, new_start: int, new_end: int, looks: int
) -> Iterator[tuple[int, int, int]]:
    """Equal stretches between two places of each text: (old line, new line, how many)."""
    count = 0
    while start + count < end and new_start + count < new_end and old[start + count] == new[new_start + count]:
        count += 1
    yield start, new_start, count
    start, new_start = start + count, new_start + count
    tail = 0
    while start < end - tail and new_start < new_end - tail and old[end - tail - 1] == new[new_end - tail - 1]:
        tail += 1
    end, new_end = end - tail, new_end - tail
    counts, new_counts = Counter(old[start:end]), Counter(new[new_start:new_end])
    is_cheap = sum(count * new_counts[line] for line, count in counts.items()) <= looks
    anchors = [] if is_cheap else _anchors(old, new, start, end, new_start, new_end, counts, new_counts)
    if anchors:
        for line, new_line in [*anchors, (end, new_end)]:
            yield from _same(old, new, start, line, new_start, new_line, looks)
            if line < end:
                yield line, new_line, 1
            start, new_start = line + 1, new_line + 1
    elif is_cheap:
        matcher = difflib.SequenceMatcher(None, old[start:end], new[new_start:new_end], autojunk=False)
        for block in matcher.get_matching_blocks():
            yield start + block.a, new_start + block.b, block.size
    yield end, new_end, tail


def _anchors(
    old: Sequence[str],
    new: Sequence[str],
    start: int,
    end: int,
    new_start: int,
    new_end: int,
    counts: Counter[str],
    new_counts: Counter[str],
) -> list[tuple[int, int]]:
    """Lines that stand once in either stretch, as many of them as keep their order in both."""
    places = {new[line]: line for line in range(new_start, new_end) if new_counts[new[line]] == 1}
    pairs = [(line, places[old[line]]) for line in range(start, end) if counts[old[line]] == 1 and old[line] in places]
    ends: list[int] = []  # the smallest new line that a chain of each length ends in
    chains: list[int] = []
    last: list[int] = []  # the pair that chain ends in, and for each pair the one before it
    for number, (_, new_line) in enumerate(pairs):
        length = bisect_left(ends, new_line)
        ends[length : length + 1] = [new_line]
        last[length : length + 1] = [number]
        chains.append(last[length - 1] if length else -1)
    found: list[tuple[int, int]] = []
    number = last[-1] if last else -1
    while number >= 0:
        found.append(pairs[number])
        number = chains[number]
    return found[::-1]

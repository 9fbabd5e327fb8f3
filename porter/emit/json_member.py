"""One member of a JSON object set in its text; every other byte stays."""

from __future__ import annotations

import json
from typing import Any

_SPACE = " \t\r\n"


def with_member(text: str, name: str, value: Any) -> str:
    """`text`, an object that `json.loads` takes, with `name` set to `value`: in its place, or else as the first member.

    The value is laid out as the object's members are: on lines of their own, by the indent of the first, or in a row.
    """
    spans, opening, indent = _members(text)
    written = _laid_out(value, indent)
    if name in spans:
        start, end = spans[name]
        return text[:start] + written + text[end:]
    member = f"{json.dumps(name)}: {written}"
    lead = "" if indent is None else f"{_newline(text)}{indent}"
    comma = ("," if indent is not None else ", ") if spans else ""
    return f"{text[:opening]}{lead}{member}{comma}{text[opening:]}"


def _members(text: str) -> tuple[dict[str, tuple[int, int]], int, str | None]:
    """Where each member's value stands, the place behind the brace, and the indent of the members' lines."""
    decoder, spans = json.JSONDecoder(), dict[str, tuple[int, int]]()
    opening = text.index("{") + 1
    place = _behind_space(text, opening)
    space = text[opening:place]
    indent = space.rpartition("\n")[2] if "\n" in space else None
    while text[place] != "}":
        key, place = decoder.raw_decode(text, place)
        start = _behind_space(text, _behind_space(text, place) + 1)
        _, end = decoder.raw_decode(text, start)
        spans[key] = start, end  # of two with one name the last counts
        place = _behind_space(text, end)
        if text[place] == ",":
            place = _behind_space(text, place + 1)
    return spans, opening, indent


def _behind_space(text: str, place: int) -> int:
    while text[place] in _SPACE:
        place += 1
    return place


def _laid_out(value: Any, indent: str | None) -> str:
    if indent is None:
        return json.dumps(value, ensure_ascii=False)
    lines = json.dumps(value, indent=indent or None, ensure_ascii=False).split("\n")
    return f"\n{indent}".join(lines)


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"

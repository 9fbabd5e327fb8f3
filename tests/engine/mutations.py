"""Damage by a seed: to a text by its tokens and lines, or by its parts; to bytes; to a JSON document by its entries."""

from __future__ import annotations

import ast
import io
import json
import keyword
import tokenize
from functools import cache
from itertools import pairwise
from random import Random
from typing import Any

ODD = (
    "", "x", "self", "...", "**...", "*", "**", "lambda: 0", "await x", "yield", "(x := 1)", "None", "5", '"a"',
    "[]", 'f"{x}"', "{}", "()", "\\\n", "\n", ";", ":", "=", "->", "@", "# c\n", "class", "def", "return", "x[0]",
    "match x:", "x.y.z", "global x", "import a.b as c", "from . import *", "é", "\u2028", "\x0c", "\t", "\r", "\0",
    "\ud800", "0" * 30, "-1", "raise", "try", "async", "del x", "not", "b''", "1j",
)  # fmt: skip
STATEMENTS = (b"pass", b"return x", b"x = yield", b"break", b"nonlocal x", b"del x", b"raise", b"import a", b"...")
VALUES = (
    None, True, False, 0, -1, 10**30, 1.5, float("nan"), "", "x", "a b", "../../x", "\ud800", "\0", "a" * 5000, [], {},
    [1], ["x"], [[]], {"x": 1}, {"": ""}, "class", "modeling_llama", [None],
)  # fmt: skip

Piece = tuple[int, int]  # of a text: from, to


@cache
def pieces(text: str) -> tuple[str, ...]:
    """The text as tokens and the layout between them: joined they are the text."""
    lines = text.split("\n")
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line) + 1)
    cuts = {0, len(text)}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        cuts |= {min(len(text), starts[min(row, len(lines)) - 1] + column) for row, column in (token.start, token.end)}
    return tuple(text[one:other] for one, other in pairwise(sorted(cuts)))


@cache
def parts(text: str) -> dict[str, list[Piece]]:
    """Where the expressions, the names, the parameters and the statements of a text stand, in bytes."""
    starts = [0]
    for line in text.encode().split(b"\n"):
        starts.append(starts[-1] + len(line) + 1)
    kinds = {"statement": ast.stmt, "name": ast.Name, "parameter": ast.arg, "expression": ast.expr}
    found: dict[str, list[Piece]] = {kind: [] for kind in kinds}
    for node in ast.walk(ast.parse(text)):
        kind = next((kind for kind, cls in kinds.items() if isinstance(node, cls)), None)
        if kind is not None:
            first = starts[node.lineno - 1] + node.col_offset
            found[kind].append((first, starts[node.end_lineno - 1] + node.end_col_offset))
    return found


def recast(text: str, draw: Random) -> str:
    """The text after one to three changes that mostly leave it Python: a part of it in the place of another."""
    places, data = parts(text), text.encode()
    changes: dict[Piece, bytes] = {}
    for _ in range(draw.randint(1, 3)):
        kind = draw.choice(("expression", "expression", "name", "parameter", "statement"))
        one, other = draw.choice(places[kind]), draw.choice(places[kind])
        piece = data[slice(*other)]
        if kind == "statement" and draw.random() < 0.7:
            piece = draw.choice((*STATEMENTS, data[slice(*one)] + b"; x = 1"))
        if all(one[1] <= start or end <= one[0] for start, end in changes):
            changes[one] = piece
    for (start, end), piece in sorted(changes.items(), reverse=True):
        data = data[:start] + piece + data[end:]
    return data.decode()


def mutated(text: str, draw: Random) -> str:
    """The text after one to three changes: tokens dropped, doubled, swapped, replaced; names changed; lines cut."""
    tokens = list(pieces(text))
    names = sorted({token for token in tokens if token.isidentifier() and not keyword.iskeyword(token)})
    for _ in range(draw.randint(1, 3)):
        one, other = draw.randrange(len(tokens)), draw.randrange(len(tokens))
        kind = draw.choice(("drop", "double", "swap", "odd", "name", "everywhere", "everywhere", "cut", "lines", "end"))
        if kind == "drop":
            tokens[one] = ""
        elif kind == "double":
            tokens[one] *= draw.choice((2, 3, 400))
        elif kind == "swap":
            tokens[one], tokens[other] = tokens[other], tokens[one]
        elif kind == "odd":
            tokens[one] = draw.choice(ODD)
        elif kind == "name":
            tokens[one] = draw.choice(names)
        elif kind == "everywhere":
            old, new = draw.choice(names), draw.choice(names)
            tokens = [new if token == old else token for token in tokens]
        elif kind == "cut":
            del tokens[one : one + draw.randint(1, 200)]
        elif kind == "lines":
            lines = "".join(tokens).split("\n")
            start = draw.randrange(len(lines))
            moved = lines[start : start + draw.randint(1, 20)]
            del lines[start : start + len(moved)]
            place = draw.randint(0, len(lines))
            lines[place:place] = moved * draw.randint(0, 2)
            tokens = [token for line in lines for token in (line, "\n")]
        else:
            del tokens[one:]
        tokens = tokens or [""]
    return "".join(tokens)


def mutated_bytes(data: bytes, draw: Random) -> bytes:
    """The bytes with some of them changed, put in, taken out, or cut short."""
    found = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        place = draw.randint(0, max(len(found) - 1, 0))
        kind = draw.choice(("flip", "flip", "in", "out", "end"))
        if kind == "flip" and found:
            found[place] ^= 1 << draw.randrange(8)
        elif kind == "in":
            found[place:place] = draw.randbytes(draw.randint(1, 4))
        elif kind == "out":
            del found[place : place + draw.randint(1, 40)]
        elif draw.random() < 0.3:
            del found[place:]
    return bytes(found)


def mutated_json(data: bytes, draw: Random) -> bytes:
    """The document with entries of any depth taken away, renamed or given another value; some with damaged bytes."""
    document: Any = json.loads(data)
    for _ in range(draw.randint(1, 3)):
        here = document
        while isinstance(here, (dict, list)) and here:
            key = draw.choice(sorted(here) if isinstance(here, dict) else range(len(here)))
            below = here[key]
            if isinstance(below, (dict, list)) and below and draw.random() < 0.6:
                here = below
                continue
            kind = draw.choice(("value", "value", "gone", "name"))
            if kind == "value":
                here[key] = draw.choice(VALUES)
            elif kind == "gone":
                del here[key]
            elif isinstance(here, dict):
                here[draw.choice(("", "x", "../x", "\ud800", "name", "format"))] = here.pop(key)
            break
    whole = json.dumps(document, ensure_ascii=draw.random() < 0.5).encode("utf-8", "surrogatepass")
    return mutated_bytes(whole, draw) if draw.random() < 0.2 else whole

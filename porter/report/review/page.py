"""A review as one HTML page, which asks for nothing from outside and says everything without JavaScript too.

Contract: whatever comes from a port, a source or a rule is escaped; the page's policy lets no script run but its own.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from porter.report.review.drawing import Layer
from porter.report.review.highlight import highlighted, styles
from porter.report.review.parts import WHY
from porter.report.review.summary import counted, facts, fate, why_left
from porter.report.review.svg import FAMILIES, family, picture
from porter.report.review.values import Hunk, Review

if TYPE_CHECKING:
    from jinja2 import Environment

_STATIC = Path(__file__).parent / "static"
_WIDE, _NARROW = 900, 350  # of the drawing, in the two forms that a page has of it


@dataclass(frozen=True)
class Shown:
    """A line of a hunk for the page: its numbers and its text as HTML."""

    old: int | None
    new: int | None
    html: Markup


@dataclass(frozen=True)
class Piece:
    """Lines that are the same on both sides, or what stood there and what stands there."""

    same: bool
    old: tuple[Shown, ...]
    new: tuple[Shown, ...]


def of_page(review: Review) -> str:
    """The whole page."""
    old, new = highlighted(review.old), highlighted(review.new)
    written = review.new and not review.edited.hunks  # else the hunks are of two texts: each is highlighted by itself
    script, style = _static("review.js"), _style()
    return (
        _environment()
        .get_template("review.html.j2")
        .render(
            review=review,
            facts=facts(review),
            counted=counted(review),
            why_left=why_left(review),
            fate=fate,
            why=WHY,
            pieces=lambda hunk: list(_pieces(hunk, old if written else None, new if written else None)),
            pictures=[picture(review.layer, width) for width in (_WIDE, _NARROW)] if _is_drawn(review.layer) else [],
            families=FAMILIES,
            kinds=_kinds(review.layer),
            family=family,
            script=Markup(script),
            style=Markup(style),
            script_hash=_hash(script),
            style_hash=_hash(style),
        )
    )


def _is_drawn(layer: Layer) -> bool:
    return bool(layer.phases or layer.rows)


def _kinds(layer: Layer) -> list[tuple[str, list[int]]]:
    """Kernels of a layer by kind: (kind, counts of source and port in each phase); none where no record has them."""
    sides = [side for phase in layer.phases for side in (phase.source, phase.port)]
    kinds = {kind for side in sides for kind in side.kinds}
    rows = [(kind, [side.kinds.get(kind, 0) for side in sides]) for kind in kinds]
    return sorted(rows, key=lambda row: (-max(row[1]), row[0]))


def _pieces(hunk: Hunk, old: list[Markup] | None, new: list[Markup] | None) -> Iterator[Piece]:
    """The hunk as stretches, with the lines as the whole texts have them highlighted."""
    if old is None or new is None:  # by itself, then
        one = "\n".join(line.text.rstrip("\r\n") for line in hunk.lines)
        alone = highlighted(one)
        lines = [(line, alone[number]) for number, line in enumerate(hunk.lines)]
    else:
        lines = [(line, new[line.new - 1] if line.new else old[(line.old or 1) - 1]) for line in hunk.lines]
    gathered: list[tuple[bool, list[Shown], list[Shown]]] = []
    for line, html in lines:
        same = line.mark == " "
        if not gathered or gathered[-1][0] != same:
            gathered.append((same, [], []))
        shown = Shown(line.old, line.new, html)
        if line.mark != "+":
            gathered[-1][1].append(shown)
        if line.mark != "-":
            gathered[-1][2].append(shown)
    for same, olds, news in gathered:
        yield Piece(same, tuple(olds), tuple(news))


def _style() -> str:
    """The page's own, and Pygments' in both schemes."""
    code = styles()
    dark = code["dark"].replace(".code ", ':root:not([data-theme="light"]) .code ')
    chosen = code["dark"].replace(".code ", ':root[data-theme="dark"] .code ')
    return f"{_static('review.css')}\n{code['light']}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n{chosen}\n"


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


@cache
def _static(name: str) -> str:
    return (_STATIC / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_STATIC),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
    )
    environment.filters["breaks"] = _breaks
    environment.filters["quoted"] = _quoted
    return environment


def _quoted(text: str) -> Markup:
    """Prose, what stands between backquotes as code."""
    parts = text.split("`")
    if not len(parts) % 2:
        return escape(text)
    return Markup().join(Markup("<code>{}</code>").format(p) if n % 2 else escape(p) for n, p in enumerate(parts))


def _breaks(name: str) -> Markup:
    """A dotted name that may be cut behind its dots and underscores."""
    return Markup(str(escape(name)).replace(".", ".<wbr>").replace("_", "_<wbr>"))

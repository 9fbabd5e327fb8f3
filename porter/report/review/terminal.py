"""A review in the terminal: the summary, then a block a rule application, then what no rule did."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule as Line
from rich.table import Table
from rich.text import Text

from porter.report.review.figures import FAILED, PASSED, Figure
from porter.report.review.parts import WHY
from porter.report.review.summary import facts, fate, why_left
from porter.report.review.values import Block, Hunk, Reason, Review, SiteRow

_MARKS = {"-": "red", "+": "green", " ": "dim"}
_STATUS = {"ported": "green", "verdict": "cyan", "partly": "yellow", "kept": "yellow", "left": "red"}
_OUTCOMES = {PASSED: "green", FAILED: "bold red"}


def of_review(review: Review, *, width: int, coloured: bool) -> str:
    """The text, no line of it wider than `width`."""
    stream = io.StringIO()
    console = Console(
        file=stream,
        width=width,
        force_terminal=coloured,
        no_color=not coloured,
        color_system="standard" if coloured else None,
        highlight=False,
        markup=False,
        emoji=False,
    )
    for part in _parts(review, width):
        console.print(part)
    return "\n".join(line.rstrip() for line in stream.getvalue().rstrip("\n").split("\n"))


def plain(text: str) -> str:
    """Of somebody's source: what would move the cursor or colour the screen is shown as what it is."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text.expandtabs(4))


def _parts(review: Review, width: int) -> Iterator[RenderableType]:
    yield Text(f"{review.name}  {review.entry}", "bold")
    yield _grid(facts(review))
    if review.edited.files:
        yield Text(f"\nchanged by hand since: {', '.join(review.edited.files)}", "bold red")
        yield Text(plain(review.edited.note or "figures and changes below are of what porter wrote"), "red")
    yield Text()
    yield _sites(review.sites, width)
    if why_left(review):
        yield Text(plain(f"why a site is left: {why_left(review)}"), "dim")
    yield Text()
    yield _figures(review.figures)
    for hunk in review.edited.hunks:
        yield Line(Text("changed by hand", "bold red"), align="left")
        yield _hunk(hunk)
    told: dict[str, int] = {}
    for block in review.blocks:
        yield Text()
        yield _block(block, review, told)
    for applied in review.unseen:
        yield Text(f"{applied.rule} at {applied.site}, {applied.lines}: leaves the lines as they were", "dim")


def _grid(rows: Iterable[tuple[str, str]]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in rows:
        grid.add_row(Text(name), Text(plain(text)))
    return grid


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if column == "line" else "left")
    return table


def _sites(sites: Sequence[SiteRow], width: int) -> Table:
    table = _table("site", "line", "kind", "what became of it")
    site, kind = (max((len(getattr(row, name)) for row in sites), default=4) for name in ("site", "kind"))
    room = width - 4 - kind - 3 * 2  # for names and what became of them: names are cut last
    table.columns[0].width = min(site, room - min(20, room // 2))
    table.columns[1].width, table.columns[2].width = 4, kind
    table.columns[3].width = room - table.columns[0].width
    for row in sites:
        style = _STATUS.get(row.status, "red")
        where = f"  [{', '.join(map(str, row.blocks))}]" if row.blocks else ""
        table.add_row(
            Text(plain(row.site)), str(row.line), Text(row.kind), Text(plain(fate(row)), style) + Text(where, "dim")
        )
    return table


def _figures(figures: Iterable[Figure]) -> Table:
    table = _table("proof", "outcome", "figures, and where they are recorded or what finds them")
    for figure in figures:
        said = Text(plain(figure.said))
        source = f" [{figure.source}]" if figure.source else ""
        source += f"{' ' if figure.said else ''}run {figure.command}" if not figure.source and figure.command else ""
        table.add_row(figure.claim, Text(figure.outcome, _OUTCOMES.get(figure.outcome, "")), said + Text(source, "dim"))
    return table


def _block(block: Block, review: Review, told: dict[str, int]) -> Group:
    head = Text(f"{block.number}/{len(review.blocks)}  ", "bold") + Text(block.title, "bold magenta")
    parts: list[RenderableType] = [Line(head, align="left", style="dim")]
    file = review.provenance.file
    for place in block.places:
        by = f"  {place.rule}" if len(block.rules) > 1 else ""
        parts.append(Text(plain(f"{file}:{place.line}  {place.site}  lines {place.lines}{by}"), "cyan"))
    parts += [_reason(review.reasons[rule], told, block.number) for rule in block.rules]
    parts += [Padding(Text(WHY.get(part, ""), "dim"), (0, 0, 0, 2)) for part in block.parts]
    if block.calls:
        parts.append(Padding(_grid(block.calls), (0, 0, 0, 2)))
    parts += [_hunk(hunk) for hunk in block.hunks]
    return Group(*parts)


def _reason(reason: Reason, told: dict[str, int], number: int) -> RenderableType:
    """In full where the rule comes first, later in a line."""
    title = Text(f"{reason.rule}: ", "bold") + Text(plain(reason.summary))
    if reason.drift:
        title += Text(f"  {plain(reason.drift)}", "bold yellow")
    before = told.setdefault(reason.rule, number)
    if before != number:
        return title + Text(f"  (why: see {before})", "dim")
    named = (("why", "why"), ("numerics", "numerics"), ("contract", "contract"), ("kernels", "kernels"))
    rows = [(name, text) for name, of in (*named, ("proof", "proof")) if (text := getattr(reason, of))]
    return Group(title, Padding(_grid(rows), (0, 0, 0, 2)))


def _hunk(hunk: Hunk) -> Table:
    """Lines with their numbers in the source and in the port."""
    wide = max((len(str(n)) for line in hunk.lines for n in (line.old, line.new) if n), default=1)
    grid = Table.grid(padding=(0, 1))
    for _ in range(2):
        grid.add_column(style="dim", justify="right", width=wide, no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    who = "; ".join(" ".join(filter(None, name)) for name in hunk.names)
    grid.add_row("", "", "@", Text(plain(f"{who}, lines {hunk.old} -> {hunk.new}"), "bold"))
    for line in hunk.lines:
        style = _MARKS[line.mark]
        numbers = [str(number) if number else "" for number in (line.old, line.new)]
        grid.add_row(*numbers, Text(line.mark, style), Text(plain(line.text.rstrip("\r\n")), style))
    return grid

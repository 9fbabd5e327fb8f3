"""The matrix as text: a table with a row a model, what was refused and what gave no answer, and the sums."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from porter.matrix.row import LEVELS, Row, is_wrong
from porter.report.blocks import Block, Report, Table, tabulated
from porter.report.blocks import Row as Line
from porter.report.kernel import NOT_RUN

_COUNTS = ("ported", "verdict", "left", "unknown")


def of_matrix(rows: Sequence[Row], *, verbose: bool = False) -> Report:
    """The sums; `verbose`: a row each before them. What was wrong, and why, stands at the end."""
    levels = [level for level in LEVELS[1:] if any(getattr(row, level) for row in rows)]
    parts: list[Block] = list(_listed(rows, levels)) if verbose else []
    parts.append("\n".join(_sums(rows, levels)))
    wrong = [row for row in rows if row.outcome == "converted" and is_wrong(row)]
    if wrong:
        cells = [(row.model, ", ".join(_words(row))) for row in wrong]
        parts.append(Table(("wrong", ""), tuple(Line(cell, "bad") for cell in cells)))
    silent = [(row.model, row.failure["level"], row.failure["what"]) for row in rows if row.failure]
    if silent:
        parts.append(Table(("no answer", "level", ""), tuple(Line(cell, "bad") for cell in silent)))
    return parts


def _listed(rows: Sequence[Row], levels: Sequence[str]) -> Iterator[Block]:
    converted = [row for row in rows if row.outcome == "converted"]
    if converted:
        header = ("model", "whole", *_COUNTS, *(title for level in levels for title in _TITLES[level]))
        lines = (
            Line(
                (row.model, *_port(row), *(cell for level in levels for cell in _CELLS[level](row))),
                "bad" if is_wrong(row) else "" if row.whole else "open",
            )
            for row in converted
        )
        yield Table(header, tuple(lines), frozenset(range(2, 2 + len(_COUNTS))))
    refused = [(row.model, row.refusal["code"], row.refusal["message"]) for row in rows if row.refusal]
    if refused:
        yield tabulated(("refused", "", ""), refused)


def of_row(row: Row) -> str:
    """A row in a few words."""
    return f"{row.model}: {', '.join(_words(row))}"


def _words(row: Row) -> Iterator[str]:
    if row.outcome == "converted":
        open_sites = row.left + row.unknown
        yield "whole" if row.whole else f"{open_sites} of {open_sites + row.count('ported', 'verdict')} sites open"
    elif row.refusal:
        yield f"refused [{row.refusal['code']}]"
    for level in LEVELS[1:]:
        found = getattr(row, level)
        if found:
            yield f"{level} {found['outcome']}"
    if row.failure:
        yield f"{row.failure['level']}: {row.failure['what']}"
    yield f"{sum(row.seconds.values()):.1f} s"


def _port(row: Row) -> tuple[str, ...]:
    numbers = (row.count("ported"), row.count("verdict"), row.left, row.unknown)
    return ("yes" if row.whole else "no", *(str(number) for number in numbers))


def _parity(row: Row) -> tuple[str, ...]:
    found = row.parity
    return (f"{found['outcome']} {found['logits']:.0e}" if found else "-",)


def _variants(row: Row) -> tuple[str, ...]:
    found = row.variants
    if not found:
        return ("-",)
    return (f"{found['checks']} checks" if found["outcome"] == "passed" else found["outcome"],)


def _capture(row: Row) -> tuple[str, ...]:
    return (row.capture["outcome"] if row.capture else "-",)


def _lowering(row: Row) -> tuple[str, ...]:
    if not row.lowering:
        return "-", "-"
    return tuple(_kernels(phase) for phase in row.lowering["kernels"].values())


def _kernels(phase: dict[str, Any]) -> str:
    source, port = ("no" if phase.get(side) is None else str(phase[side]) for side in ("source", "port"))
    return f"{source} -> {port}"


def _graph(row: Row) -> tuple[str, ...]:
    found = row.graph
    if not found:
        return ("-",)
    return (f"{found['outcome']} {found['logits']:.0e}" if "logits" in found else found["outcome"],)


_TITLES = {
    "parity": ("parity",),
    "variants": ("variants",),
    "capture": ("capture",),
    "lowering": ("prefill", "decode"),
    "graph": ("graph",),
}
_CELLS = {"parity": _parity, "variants": _variants, "capture": _capture, "lowering": _lowering, "graph": _graph}


def _sums(rows: Sequence[Row], levels: Sequence[str]) -> Iterator[str]:
    outcomes = Counter(row.outcome for row in rows)
    kinds = ", ".join(f"{outcomes[kind]} {kind}" for kind in ("converted", "refused", "crashed"))
    yield f"{len(rows)} files: {kinds}; {sum(row.whole for row in rows)} whole: nothing is left or unknown"
    counts = [f"{sum(row.count(status) for row in rows)} {status}" for status in ("ported", "verdict")]
    left, unknown = sum(row.left for row in rows), sum(row.unknown for row in rows)
    yield f"sites of the converted: {', '.join(counts)}, {left} left, whole or in part, {unknown} of unknown classes"
    for level in levels:
        found = Counter(getattr(row, level)["outcome"] for row in rows if getattr(row, level))
        yield f"{level}: {', '.join(f'{count} {outcome}' for outcome, count in found.items())}"
    if "lowering" in levels:
        yield f"prefill, decode: kernels a layer, source -> port; `no`: does not convert. {NOT_RUN}"
    if "graph" in levels:
        yield f"graph: the port's GE graphs, executed on the CPU beside the source. {NOT_RUN}"

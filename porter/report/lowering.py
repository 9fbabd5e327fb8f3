"""What TorchAir made of a port: both phases side by side, with the source model's where it was asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from porter.report.blocks import Block, Report, Row, Table, Words, tabulated
from porter.report.execution import of_execution
from porter.report.kernel import NOT_RUN

if TYPE_CHECKING:
    from porter.graph.execute import Execution
    from porter.lowering.contribution import Contribution
    from porter.lowering.count import Line, Phase, Unconverted
    from porter.lowering.lower import Lowering


def of_lowering(
    found: Lowering, execution: Execution | None = None, kernel: str = NOT_RUN, *, verbose: bool = False
) -> Report:
    """Whether each phase converts and to how many kernels; `verbose`: to which, and from which line of the port;
    `kernel`: what is known of the port's kernels on that chip."""
    verdict = "lowers through TorchAir" if found.converts else "does not lower through TorchAir"
    head = f"{found.name}: {verdict} (torch_npu {found.torch_npu}, CANN {found.cann}, {found.soc})"
    parts: list[Block] = [Words(head, "" if found.converts else "bad")]
    columns = {f"port {step.name}": step for step in found.port}
    columns |= {f"source {step.name}": step for step in found.source}
    parts.append(_counts(columns, verbose))
    if verbose:
        parts += [_lines(name, "beside ops, a layer", step.beside) for name, step in columns.items() if step.beside]
        parts += [_lines(name, "once a step", step.once) for name, step in columns.items() if step.once]
    if execution is not None:
        parts += of_execution(execution)
    return [*parts, *_stops(found, columns), kernel]


def _stops(found: Lowering, columns: dict[str, Phase]) -> Iterator[Words]:
    """What did not convert, and where: of the port it is a failure, of its source a fact."""
    for name, step in columns.items():
        if step.unconverted:
            yield Words(_stopped(name, step.unconverted), "bad" if name.startswith("port ") else "open")
    tried = [
        f"source {attempt.phase}, {attempt.setting}: "
        + (_cause(attempt.unconverted) if attempt.unconverted else "converts")
        for attempt in found.attempts
    ]
    if tried:
        yield Words("\n".join(tried))


def _counts(columns: dict[str, Phase], verbose: bool) -> Table:
    steps = list(columns.values())
    kinds = {kind for step in steps for layer in step.layers for kind in layer} if verbose else set()
    ranked = sorted(kinds, key=lambda kind: (-max(_in_a_layer(step, kind) for step in steps), kind))
    rows = [
        ("converted", *("yes" if step.converts else "no" for step in steps)),
        ("GE nodes a layer", *(str(step.nodes) if step.converts else "-" for step in steps)),
        ("kernels a layer", *(_kernels(step) for step in steps)),
        *((f"  {kind}", *(str(_in_a_layer(step, kind) or "-") for step in steps)) for kind in ranked),
        ("  fused ops, products", *(str(step.implied) if step.converts else "-" for step in steps)),
        ("attention told lengths", *(_told_lengths(step) for step in steps)),
        ("kernels once a step", *(str(step.once_a_step) if step.converts else "-" for step in steps)),
    ]
    return tabulated(("", *columns), rows, right=range(1, len(columns) + 1))


def _in_a_layer(step: Phase, kind: str) -> int:
    return step.layers[0].get(kind, 0) if step.layers else 0


def _kernels(step: Phase) -> str:
    if not step.converts:
        return "-"
    return " or ".join(str(sum(layer.values())) for layer in step.layers)


def _told_lengths(step: Phase) -> str:
    return f"{step.with_lengths} of {step.attention}" if step.attention else "-"


def _stopped(name: str, stop: Unconverted) -> str:
    return f"{name}: {_cause(stop)}"


def _cause(stop: Unconverted) -> str:
    cause = f"no converter for {stop.op}" if stop.op else stop.reason
    if "for_cpu" in stop.op:
        cause += " (what this call becomes on the CPU; on a device it is another op, not seen here)"
    if stop.place is None:
        return cause
    through = f", through {stop.place.within}" if stop.place.within else ""
    return f"{cause}\n    {stop.place.line}: {stop.place.code}{through}"


def _lines(name: str, what: str, lines: Sequence[Line]) -> Table:
    rows = [
        (str(entry.count), entry.place.line, _kinds(entry), entry.place.code) for entry in lines
    ]
    return tabulated((name, "line", what, ""), rows)


def _kinds(entry: Line) -> str:
    return ", ".join(kind if count == 1 else f"{count} {kind}" for kind, count in entry.kernels.items())


def lowering_data(found: Lowering) -> dict[str, Any]:
    return {
        "name": found.name,
        "soc": found.soc,
        "torch_npu": found.torch_npu,
        "cann": found.cann,
        "kernels_run": False,
        "port": [phase_data(step) for step in found.port],
        "source": [phase_data(step) for step in found.source],
        "source_attempts": [asdict(attempt) for attempt in found.attempts],
    }


def phase_data(step: Phase) -> dict[str, Any]:
    data = asdict(step)
    data["kernels_a_layer"], data["kernels_once_a_step"] = step.kernels, step.once_a_step
    data["implied"] = step.implied
    return data


def of_contributions(found: tuple[Contribution, ...]) -> Report:
    """A rule a line: what the port costs without it."""
    cells = [(entry.without or "(all rules)", *_cells(entry)) for entry in found]
    rows = tuple(Row(row, "open" if row[-1] else "") for row in cells)
    header = ("without", "prefill: a layer", "once", "decode: a layer", "once", "what does not convert")
    return [Table(header, rows, frozenset({1, 2, 3, 4})), NOT_RUN]


def _cells(entry: Contribution) -> Iterator[str]:
    if entry.refused:
        yield from ("-", "-", "-", "-", entry.refused)
        return
    for step in (entry.prefill, entry.decode):
        yield _kernels_of(step.get("kernels_a_layer"))
        yield _kernels_of(step.get("kernels_once_a_step"))
    yield ", ".join(dict.fromkeys(filter(None, (entry.prefill.get("unconverted"), entry.decode.get("unconverted")))))


def _kernels_of(count: int | None) -> str:
    return "-" if count is None else str(count)


def contributions_data(found: tuple[Contribution, ...]) -> list[dict[str, Any]]:
    return [asdict(entry) for entry in found]

"""How long the steps of a port would take, kernel by kernel, or what each rule is worth; and what such a figure is."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from porter.report.blocks import Block, Report, Table, tabulated
from porter.report.kernel import NOT_RUN

if TYPE_CHECKING:
    from porter.predict.by_rule import ByRule, Worth
    from porter.predict.chips import Chip
    from porter.predict.predict import Prediction
    from porter.predict.steps import Step
    from porter.predict.workload import Workload

_GIB = 2**30
_SHOWN = 0.005  # milliseconds: kinds below are one line


def of_prediction(found: Prediction) -> Report:
    memory = found.memory
    needed = memory.weights + memory.cache
    parts: list[Block] = [
        f"{found.name}, {found.configuration}, {found.dtype}, {found.layers} layers: {_on(found.workload, found.chip)}",
        _kernels(found.prefill),
        _kernels(found.decode),
        tabulated(
            ("predicted", ""),
            [
                ("prefill", f"{found.prefill.milliseconds:.1f} ms"),
                ("decode", f"{found.decode.milliseconds:.2f} ms a token"),
                ("", f"{found.tokens_a_second:.0f} tokens/s, {found.workload.batch} a step"),
                ("memory a card", f"{needed / _GIB:.1f} of {memory.available / _GIB:.0f} GiB, " + _held(found)),
            ],
        ),
        estimate(),
    ]
    return [*parts, NOT_RUN]


def _on(workload: Workload, chip: Chip) -> str:
    cards = f"{workload.tp} x {chip.name}" if workload.tp > 1 else chip.name
    return f"batch {workload.batch}, {workload.input} tokens in, {workload.output} out, on {cards}"


def _held(found: Prediction) -> str:
    return f"weights {found.memory.weights / _GIB:.1f}, KV cache {found.memory.cache / _GIB:.1f}"


def _kernels(step: Step) -> Table:
    shown = [cost for cost in step.costs if cost.milliseconds >= _SHOWN]
    rows = [
        (
            cost.kind,
            str(cost.calls),
            f"{cost.bytes / 1e9:.3f}",
            f"{cost.flops / 1e12:.3f}" if cost.flops else "-",
            f"{cost.milliseconds:.2f}",
            cost.bound,
        )
        for cost in shown
    ]
    rest = [cost for cost in step.costs if cost.milliseconds < _SHOWN]
    if rest:
        spent = sum(cost.milliseconds for cost in rest)
        moved = sum(cost.bytes for cost in rest) / 1e9
        rows.append(
            (f"{len(rest)} other kinds", str(sum(cost.calls for cost in rest)), f"{moved:.3f}", "-", f"{spent:.2f}", "")
        )
    header = (f"{step.phase}: kernels", "calls", "GB moved", "TFLOP", "ms", "bound by")
    return tabulated(header, rows, right=(1, 2, 3, 4))


def of_by_rule(found: ByRule) -> Report:
    whole = found.ports[0]
    rows = [("(all rules)", *_cells(whole, None))]
    rows += [(f"without {row.without}", *_cells(row, whole)) for row in found.ports[1:]]
    rows.append(("(the source)", *_cells(found.source, whole)))
    header = ("", "prefill ms", "worth", "decode ms", "worth", "")
    about = f"{found.name}: {_on(found.workload, found.chip)}"
    return [about, tabulated(header, rows, right=(1, 2, 3, 4)), estimate(), NOT_RUN]


def _cells(row: Worth, whole: Worth | None) -> tuple[str, ...]:
    if row.prefill is None or row.decode is None:
        return "-", "", "-", "", row.stopped
    if whole is None or whole.prefill is None or whole.decode is None:
        return f"{row.prefill:.1f}", "", f"{row.decode:.2f}", "", ""
    also = f"nor {', '.join(row.also)}, which require it" if row.also else ""
    worth = f"{row.prefill - whole.prefill:+.1f}", f"{row.decode - whole.decode:+.2f}"
    return f"{row.prefill:.1f}", worth[0], f"{row.decode:.2f}", worth[1], also


def estimate() -> str:
    """What a predicted time is, in the figures of the fit."""
    from porter.predict.steps import FITTED

    half = FITTED["held_out"]
    return "\n".join(
        (
            "an estimate: this graph's bytes and multiply-adds, the chip's published bandwidth and peak, and constants",
            f"fitted on published times of TorchAir's hand ports on {FITTED['server']}, taken for {FITTED['chip']}; of",
            f"another chip only the published figures differ. On the {half['figures']} published times that were not",
            f"fitted it is off by {half['median_percent']} % in the median and {half['worst_percent']} % at worst; "
            f"{half['within_20_percent']} are within 20 %.",
        )
    )


def prediction_data(found: Prediction) -> dict[str, Any]:
    from porter.predict.steps import FITTED

    data = {**asdict(found), "tokens_a_second": found.tokens_a_second}
    for step in (found.prefill, found.decode):
        data[step.phase]["milliseconds"] = step.milliseconds
    return {"prediction": data, "estimate": FITTED, "kernels_run": False}


def by_rule_data(found: ByRule) -> dict[str, Any]:
    from porter.predict.steps import FITTED

    return {"prediction_by_rule": asdict(found), "estimate": FITTED, "kernels_run": False}

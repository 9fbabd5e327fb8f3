"""A row of a matrix -> the figures of its levels, and the kernels of a layer."""

from __future__ import annotations

from typing import Any

from porter.matrix.identity import identities
from porter.report.review.drawing import Kernels, Phase
from porter.report.review.figures import FAILED, PASSED, Figure, of_phases


def of_row(row: dict[str, Any], where: str) -> dict[str, Figure]:
    if not row:
        return {}
    figures: dict[str, Figure] = {}
    parity, variants, capture = row.get("parity"), row.get("variants"), row.get("capture")
    if parity:
        said = f"logits off by {parity['logits']:.1e} of their scale; tokens: {parity['tokens']}"
        if variants:
            said += f"; {variants['checks']} checks of {variants['configurations']} configurations: "
            said += variants["outcome"]
        outcome = PASSED if parity["outcome"] == "equal" and _good(variants) else FAILED
        figures["parity"] = Figure("parity", outcome, said, _place(row, "parity", where))
    if capture:
        said = ", ".join(f"{what}: {count}" for what, count in capture.items() if what != "outcome")
        outcome = PASSED if _good(capture) else FAILED
        figures["capture"] = Figure("capture", outcome, said, _place(row, "capture", where))
    if row.get("lowering"):
        said = f"torch_npu {row['lowering']['torch_npu']}"
        figures["lowering"] = of_phases(phases_of_row(row), said, _place(row, "lowering", where))
    if row.get("graph"):
        said = f"GE graphs executed on the CPU: {row['graph']['outcome']}"
        outcome = FAILED if row["graph"]["outcome"] == "different" else PASSED
        figures["graph"] = Figure("graph", outcome, said, _place(row, "graph", where))
    return figures


def _good(level: dict[str, Any] | None) -> bool:
    return level is None or level["outcome"] == "passed"


def _place(row: dict[str, Any], level: str, where: str) -> str:
    """The file, and whether the code that found it is today's."""
    text = row["identity"]["text"]
    is_today = row["identity"].get(level) == identities().of_level(level, text)
    return where if is_today else f"{where}, found by an earlier state of porter or other versions of torch"


def phases_of_row(row: dict[str, Any]) -> tuple[Phase, ...]:
    lowering = row.get("lowering") or {}
    stopped = lowering.get("unconverted", {})
    return tuple(
        Phase(name, *(Kernels(counts.get(side), {}, stopped.get(f"{side} {name}", "")) for side in ("source", "port")))
        for name, counts in lowering.get("kernels", {}).items()
    )

"""What `porter verify`, `lower` and `prove` print as JSON -> figures, and the kernels of a layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from porter.report.review.drawing import Kernels, Phase
from porter.report.review.figures import FAILED, NOT_RECORDED, PASSED, Figure

_PHASES = ("prefill", "decode")


def phases_of_lowering(data: dict[str, Any]) -> tuple[Phase, ...]:
    sides = [{step["name"]: _kernels(step) for step in data.get(side) or ()} for side in ("source", "port")]
    return tuple(
        Phase(name, sides[0].get(name, Kernels(None)), sides[1][name]) for name in _PHASES if name in sides[1]
    )


def _kernels(step: dict[str, Any]) -> Kernels:
    stop = step.get("unconverted")
    if stop:
        return Kernels(None, {}, stop["op"] or stop["reason"])
    layers = step.get("layers") or [{}]  # more than one where layers differ: the count is the longest's
    return Kernels(step["kernels_a_layer"], dict(max(layers, key=lambda layer: sum(layer.values()))))


def of_checks(checks: Sequence[dict[str, Any]], level: str, file: str) -> Figure:
    counts = Counter(check["outcome"] for check in checks)
    said = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    figures = [check for check in checks if check.get("figure") is not None and check.get("limit")]
    worst = max(figures, key=lambda check: check["figure"] / check["limit"], default=None)
    if worst:
        said += f"; nearest to its limit: {worst['name']} {worst['figure']:.2g} {worst['unit']} of {worst['limit']:.2g}"
    return Figure(level, FAILED if counts["failed"] else PASSED, said, file)


def of_execution(execution: dict[str, Any], file: str) -> Figure:
    ran = [f"{r['phase']} logits off by {r['error']:.1e}, {r['differ']} tokens differ" for r in execution["ran"]]
    stop = execution.get("stop")
    said = "; ".join([*ran, *([f"{stop['phase']} stops: {stop['reason']}"] if stop else [])])
    return Figure("graph", PASSED if execution["agrees"] else FAILED, said, file)


def of_proofs(proofs: Sequence[dict[str, Any]], rules: tuple[str, ...], file: str) -> Figure:
    here = [proof for proof in proofs if proof["name"] in rules]
    lacking = sorted(set(rules) - {proof["name"] for proof in here})
    failed = [proof["name"] for proof in here if proof["status"] != "passed"]
    by_dtype = [found for proof in here for found in proof["figures"].values() if isinstance(found, dict)]
    ulp = [found["after_ulp"] for found in by_dtype if "after_ulp" in found]
    said = f"{len(here) - len(failed)} of {len(rules)} rules proved"
    said += f"; the worst of what they write is off by {max(ulp):.2f} ulp" if ulp else ""
    said += f"; not passed: {', '.join(failed)}" if failed else ""
    said += f"; not in it: {', '.join(lacking)}" if lacking else ""
    return Figure("rules", FAILED if failed else NOT_RECORDED if lacking else PASSED, said, file)


def without_rules(rules: Sequence[dict[str, Any]]) -> Iterable[tuple[str, str]]:
    """Of each rule, what a layer costs in both phases without it, and those that go with it."""
    every = {entry["without"]: [entry[phase].get("kernels_a_layer") for phase in _PHASES] for entry in rules}
    whole = every.get("", [None, None])
    for entry in rules:
        counts = every[entry["without"]]
        if entry["without"] and None not in (*counts, *whole):
            also = f" (and without {', '.join(entry['also'])})" if entry["also"] else ""
            yield (
                entry["without"],
                f"without it{also} a layer has {counts[0]} kernels in prefill and {counts[1]} in decode, "
                f"with it {whole[0]} and {whole[1]}",
            )

"""Proofs and checks, one a line with its figure. What was not shown is never counted as shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from porter.report.kernel import NOT_RUN
from porter.report.table import table

if TYPE_CHECKING:
    from porter.verify.finding import Check
    from porter.verify.prove import Proof

_DTYPES = ("float32", "bfloat16", "float16")


def of_proofs(proofs: Sequence[Proof]) -> str:
    """A rule a line: the worst error of what it writes and of what it replaces, in ulp of the dtype."""
    header = ("", "rule", *(f"{dtype}: after / before" for dtype in _DTYPES))
    rows = [(proof.status, proof.name, *(_errors(proof.figures.get(dtype)) for dtype in _DTYPES)) for proof in proofs]
    lines = table(header, rows).split("\n")
    text = [lines[0] + "   (ulp)"]
    for proof, line in zip(proofs, lines[1:], strict=True):
        text += [line, *_hanging("" if proof.passed else proof.detail)]
    claims = dict.fromkeys(proof.claim for proof in proofs if proof.passed)
    return "\n".join([*text, "", _counted(proof.status for proof in proofs), *claims])


def _errors(figures: dict[str, float] | None) -> str:
    return f"{figures['after_ulp']:.2f} / {figures['before_ulp']:.2f}" if figures else "-"


def proofs_data(proofs: Iterable[Proof]) -> list[dict[str, Any]]:
    return [asdict(proof) for proof in proofs]


def of_checks(checks: Sequence[Check], kernel: str = NOT_RUN, warnings: Sequence[str] = ()) -> str:
    """A check a line, grouped by the variant of the configuration: its figure and the limit.

    kernel: what is known of the port's kernels; warnings: what to look at on a device.
    """
    rows = [(check.outcome, check.variant or "port", check.name, _figure(check)) for check in checks]
    lines = table(("", "variant", "check", "figure"), rows).split("\n")
    text = [lines[0]]
    for check, line in zip(checks, lines[1:], strict=True):
        text += [line, *_hanging("" if check.passed else check.detail)]
    told = [f"warning: {warning}" for warning in warnings]
    return "\n".join([*text, "", *told, *([""] if told else []), _counted(check.outcome for check in checks), kernel])


def _figure(check: Check) -> str:
    if check.figure is None:
        return "-"
    return f"{check.figure:.2g} {check.unit}" + (f", limit {check.limit:.2g}" if check.limit else "")


def checks_data(checks: Iterable[Check]) -> list[dict[str, Any]]:
    return [asdict(check) for check in checks]


def _hanging(detail: str) -> Iterator[str]:
    return (f"    {line}" for line in detail.split("\n") if line)


def _counted(outcomes: Iterable[str]) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in Counter(outcomes).items())

"""Proofs and checks, one a line with its figure. What was not shown is never counted as shown.

Contract: unasked, a sum with the figures nearest to their limits; asked, every line. What failed is always there, with
its reason, and stands at the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from porter.report.blocks import Block, Report, Row, Table, Tone, Words, tabulated
from porter.report.kernel import NOT_RUN

if TYPE_CHECKING:
    from porter.verify.finding import Check
    from porter.verify.prove import Proof

_OUTCOMES = ("passed", "failed", "not applicable")
_DTYPES = ("float32", "bfloat16", "float16")
_TONES: dict[str, Tone] = {"failed": "bad", "unproved": "open", "not applicable": "faint"}


def of_proofs(proofs: Sequence[Proof], *, verbose: bool = False) -> Report:
    """The worst error of what rules write, and of what they replace, in ulp of the dtype; `verbose`: of each rule."""
    claims = dict.fromkeys(proof.claim for proof in proofs if proof.passed)
    counted = "\n".join([_counted(proof.status for proof in proofs), *claims])
    return [_proofs(proofs) if verbose else _worst_errors(proofs), counted, *_open_proofs(proofs)]


def _proofs(proofs: Sequence[Proof]) -> Table:
    header = ("", "rule", *(f"{dtype}: after / before, ulp" for dtype in _DTYPES))
    cells = [(proof.status, proof.name, *(_errors(proof.figures.get(dtype)) for dtype in _DTYPES)) for proof in proofs]
    rows = (Row(row, _TONES.get(row[0], "")) for row in cells)
    return Table(header, tuple(rows))


def _errors(figures: dict[str, float] | None) -> str:
    return f"{figures['after_ulp']:.2f} / {figures['before_ulp']:.2f}" if figures else "-"


def _worst_errors(proofs: Sequence[Proof]) -> Table:
    rows = []
    for dtype in _DTYPES:
        measured = [(proof.figures[dtype], proof.name) for proof in proofs if proof.figures.get(dtype)]
        if measured:
            figures, rule = max(measured, key=lambda pair: pair[0]["after_ulp"])
            rows.append((dtype, _errors(figures), rule))
    return tabulated(("dtype", "largest error: after / before, ulp", "rule"), rows)


def _open_proofs(proofs: Iterable[Proof]) -> Iterator[Block]:
    for proof in proofs:
        if not proof.passed:
            yield Words(f"{proof.status}: {proof.name}{_hanging(proof.detail)}", _TONES.get(proof.status, "bad"))


def proofs_data(proofs: Iterable[Proof]) -> list[dict[str, Any]]:
    return [asdict(proof) for proof in proofs]


def of_checks(
    checks: Sequence[Check], kernel: str = NOT_RUN, warnings: Sequence[str] = (), *, verbose: bool = False
) -> Report:
    """Checks by the variant of the configuration: counts, and the figure that comes nearest to its limit; `verbose`:
    each check with its figure and the limit.

    kernel: what is known of the port's kernels; warnings: what to look at on a device.
    """
    counted = f"{_counted(check.outcome for check in checks)}\n{kernel}"
    failed = [
        Words(f"failed: {check.variant or 'port'}, {check.name}: {_figure(check)}{_hanging(check.detail)}", "bad")
        for check in checks
        if check.failed
    ]
    sums = Words(counted, "bad" if failed else "")
    told = [Words(f"warning: {warning}", "open") for warning in warnings]
    return [_checks(checks) if verbose else _variants(checks), *told, sums, *failed]


def _checks(checks: Sequence[Check]) -> Table:
    rows = (
        Row((check.outcome, check.variant or "port", check.name, _said(check)), _TONES.get(check.outcome, ""))
        for check in checks
    )
    return Table(("", "variant", "check", "figure"), tuple(rows))


def _variants(checks: Sequence[Check]) -> Table:
    counted = [outcome for outcome in _OUTCOMES if any(check.outcome == outcome for check in checks)]
    rows = []
    for variant in dict.fromkeys(check.variant for check in checks):
        own = [check for check in checks if check.variant == variant]
        counts = Counter(check.outcome for check in own)
        numbers = (str(counts[outcome] or "-") for outcome in counted)
        rows.append(Row((variant or "port", *numbers, _nearest(own)), "bad" if counts["failed"] else ""))
    return Table(("variant", *counted, "nearest to its limit"), tuple(rows), frozenset(range(1, len(counted) + 1)))


def _nearest(checks: Iterable[Check]) -> str:
    shares = [(check.figure / check.limit, check) for check in checks if check.figure is not None and check.limit]
    if not shares:
        return "-"
    check = max(shares, key=lambda pair: pair[0])[1]
    return f"{check.name}: {_figure(check)}"


def _said(check: Check) -> str:
    """The figure, or why there is none."""
    return check.detail if check.figure is None and not check.failed and check.detail else _figure(check)


def _figure(check: Check) -> str:
    if check.figure is None:
        return "-"
    return f"{check.figure:.2g} {check.unit}" + (f", limit {check.limit:.2g}" if check.limit else "")


def checks_data(checks: Iterable[Check]) -> list[dict[str, Any]]:
    return [asdict(check) for check in checks]


def _hanging(detail: str) -> str:
    return "".join(f"\n    {line}" for line in detail.split("\n") if line)


def _counted(outcomes: Iterable[str]) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in Counter(outcomes).items())

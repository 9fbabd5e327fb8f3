"""What each level finds of one model: a conversion as fields of its row, the others as the data of their own field.

    port      what convert makes of it
    parity    the brief comparison with its source
    variants  every check of `porter verify`
    capture   one graph each for prefill and decode

Contract: the port lies in the folder of its task. Raises NoAnswer where a level cannot be asked, and what models raise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from porter.convert import convert
from porter.diagnostics import Refused
from porter.emit import emit
from porter.matrix.identity import TEXT, identities, text_of
from porter.matrix.row import WHOLE
from porter.matrix.task import Found, Task, no_answer
from porter.plan import SiteReport
from porter.source import load_source

if TYPE_CHECKING:  # it comes with torch, which converting does without
    from porter.verify.finding import Check


def port(task: Task) -> Found:
    """The fields of a row that converting gives."""
    source = load_source(task.module)
    if isinstance(source, Refused):
        return _refused(source)
    identity = {"port": identities().of_port(source, task.rules)}
    ported = convert(source, name=task.model, rules=task.rules)
    if isinstance(ported, Refused):
        return {**_refused(ported), "identity": identity}
    written = emit(ported, task.port, force=True)
    if isinstance(written, Refused):
        return {**_refused(written), "identity": identity}
    return {
        "outcome": "converted",
        **accounts(ported.sites),
        "identity": {**identity, TEXT: text_of(source, ported.code)},
    }


def _refused(refused: Refused) -> Found:
    first = refused.diagnostics[0]
    place = {"place": f"{first.span.path}:{first.span.line}"} if first.span else {}
    return {"outcome": "refused", "refusal": {"code": first.code, "message": first.message, **place}}


def accounts(sites: Iterable[SiteReport]) -> Found:
    """The fields of a row that say what became of the sites."""
    by_kind: dict[str, Counter[str]] = {}
    still_open: dict[str, str] = {}
    for site in sites:
        by_kind.setdefault(site.kind, Counter())[site.status] += 1
        if site.status not in WHOLE or site.kind == "unknown":
            still_open[site.name] = "unknown" if site.kind == "unknown" else site.status
    return {"sites": {kind: dict(counts) for kind, counts in by_kind.items()}, "open": still_open}


def parity(task: Task) -> Found:
    from porter.verify.brief import STEPS, compare
    from porter.verify.port import open_to_compare

    opened = open_to_compare(task.port)
    compared = opened if isinstance(opened, Refused) else compare(opened)
    if isinstance(compared, Refused):
        raise no_answer(compared)
    return {
        "outcome": "equal" if compared.equal else "different",
        "logits": float(f"{compared.figure:.1e}"),
        "tokens": f"{STEPS} equal" if compared.same_tokens else "differ",
        "ops": compared.ops,
    }


def variants(task: Task) -> Found:
    from porter.verify.parity import verify

    checks = verify(task.port)
    if isinstance(checks, Refused):
        raise no_answer(checks)
    asked = [check for check in checks if check.passed or check.failed]
    failed = _failed(checks)
    return {
        "outcome": "failed" if failed else "passed",
        "checks": len(asked),
        "configurations": len({check.variant for check in asked}),
        **_detail(failed),
    }


def capture(task: Task) -> Found:
    from porter.verify.capture import capture as captured

    checks = captured(task.port)
    if isinstance(checks, Refused):
        raise no_answer(checks)
    failed = _failed(checks)
    passed = any(check.passed for check in checks)
    figures: Counter[str] = Counter()  # the largest of both modes
    for check in checks:
        if check.figure is not None:
            figures[check.name] = max(figures[check.name], int(check.figure))
    outcome = "failed" if failed else "passed" if passed else "not applicable"
    return {"outcome": outcome, **figures, **_detail(failed if failed or passed else [checks[0].detail])}


def _failed(checks: Iterable[Check]) -> list[str]:
    return [f"{check.variant}: {check.name}: {check.detail or check.figure}" for check in checks if check.failed]


def _detail(lines: list[str]) -> Found:
    return {"detail": "; ".join(lines)} if lines else {}

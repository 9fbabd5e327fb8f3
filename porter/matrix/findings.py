"""What each level finds of one model: a conversion as fields of its row, the others as the data of their own field.

    port      what convert makes of it
    parity    the brief comparison with its source
    variants  every check of `porter verify`
    capture   one graph each for prefill and decode
    lowering  kernels a layer, the source's and the port's
    graph     the port's GE graphs, executed on the CPU beside its source

Contract: the port lies in the folder of its task. Raises NoAnswer where a level cannot be asked, and what models raise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from porter.convert import convert
from porter.diagnostics import Diagnostic, Refused
from porter.emit import emit
from porter.matrix.identity import TEXT, identities, text_of
from porter.matrix.library import model_of
from porter.matrix.row import WHOLE, Row
from porter.plan import SiteReport
from porter.rulebook import LoadedRule
from porter.source import load_source

if TYPE_CHECKING:  # it comes with torch, which converting does without
    from porter.verify.finding import Check

Found = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """One model: up to which level, of files that are not whole too if `everything`, and what is known of it."""

    module: str
    folder: Path
    level: str
    everything: bool
    rules: tuple[LoadedRule, ...]
    known: Row | None = None

    @property
    def model(self) -> str:
        return model_of(self.module)

    @property
    def port(self) -> Path:
        """The folder of the port."""
        return self.folder / self.model


class NoAnswer(Exception):
    """A level that could not be asked; the text says why."""


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
        raise _no_answer(compared)
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
        raise _no_answer(checks)
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
        raise _no_answer(checks)
    failed = _failed(checks)
    passed = any(check.passed for check in checks)
    figures: Counter[str] = Counter()  # the largest of both modes
    for check in checks:
        if check.figure is not None:
            figures[check.name] = max(figures[check.name], int(check.figure))
    outcome = "failed" if failed else "passed" if passed else "not applicable"
    return {"outcome": outcome, **figures, **_detail(failed if failed or passed else [checks[0].detail])}


def lowering(task: Task) -> Found:
    from porter.lowering.lower import PHASES, lower

    lowered = lower(task.port, baseline=True, attempts=False)
    if isinstance(lowered, Refused):
        raise _no_answer(lowered)
    steps = {(side, step.name): step for side in ("source", "port") for step in getattr(lowered, side)}
    kernels: dict[str, dict[str, int | None]] = {name: {} for name in PHASES}
    stopped = {}
    for (side, phase), step in steps.items():
        kernels[phase][side] = step.kernels if step.converts else None
        if step.unconverted is not None:
            stopped[f"{side} {phase}"] = step.unconverted.op or step.unconverted.reason
    return {
        "outcome": "converts" if lowered.converts else "does not convert",
        "kernels": kernels,
        "unconverted": stopped,
        "torch_npu": lowered.torch_npu,
    }


def graph(task: Task) -> Found:
    from porter.graph.execute import execute

    executed = execute(task.port)
    if isinstance(executed, Refused):
        raise _no_answer(executed)
    stop = executed.stop
    if stop is not None:
        where = "" if stop.place is None else f" ({stop.place.line})"
        return {"outcome": "not executed", "detail": f"{stop.phase}: {stop.reason}{where}"}
    return {
        "outcome": "equal" if executed.agrees else "different",
        "logits": float(f"{max(step.error for step in executed.ran):.1e}"),
        "tokens": f"{sum(step.differ for step in executed.ran)} differ",
        "torch_npu": executed.torch_npu,
    }


FIND: dict[str, Callable[[Task], Found]] = {
    "port": port,
    "parity": parity,
    "variants": variants,
    "capture": capture,
    "lowering": lowering,
    "graph": graph,
}


def _failed(checks: Iterable[Check]) -> list[str]:
    return [f"{check.variant}: {check.name}: {check.detail or check.figure}" for check in checks if check.failed]


def _detail(lines: list[str]) -> Found:
    return {"detail": "; ".join(lines)} if lines else {}


def _no_answer(refused: Refused) -> NoAnswer:
    first: Diagnostic = refused.diagnostics[0]
    return NoAnswer("; ".join((first.message, *first.notes)))

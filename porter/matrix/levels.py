"""One model, level by level: converted, compared with its source, captured, lowered. Runs in a process of its own.

    port      what convert makes of it
    parity    the brief comparison with its source
    variants  every check of `porter verify`
    capture   one graph each for prefill and decode
    lowering  kernels a layer, the source's and the port's

Contract: says the row anew after each level, and the name of a level when it begins. A level that raises ends the climb
with a row that says so. What a level found stays while its identity does; of the others only those asked for are run.
"""

from __future__ import annotations

import os
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from porter.convert import convert
from porter.diagnostics import Diagnostic, Refused
from porter.emit import emit
from porter.matrix.identity import identities, text_of
from porter.matrix.library import model_of
from porter.matrix.row import LEVELS, WHOLE, Row
from porter.plan import SiteReport
from porter.rulebook import LoadedRule
from porter.source import Source, load_source

_TEXT = "text"  # the identity of a port's own text
_OF_WHOLE_FILES = ("variants", "capture", "lowering")
Found = dict[str, Any]  # fields of a row


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


class NoAnswer(Exception):
    """A level that could not be asked; the text says why."""


def preload(level: str) -> None:
    """Import what the levels up to this one need, so that each process has it."""
    if level != "port":
        import porter.verify.brief
    if level in ("capture", "lowering"):
        import porter.verify.capture  # noqa: F401


def applies(level: str, row: Row, everything: bool) -> bool:
    """Whether a level says something of such a row."""
    return row.outcome == "converted" and (row.whole or everything or level not in _OF_WHOLE_FILES)


def is_known(row: Row, source: Source, level: str, everything: bool) -> bool:
    """Whether nothing of a row has to be found again."""
    if row.failure is not None or row.identity.get("port") != identities().of_port(source):
        return False
    asked = [each for each in LEVELS[1 : LEVELS.index(level) + 1] if applies(each, row, everything)]
    return all(_stays(row, each, row.identity.get(_TEXT, "")) for each in asked)


def _stays(known: Row | None, level: str, text: str) -> bool:
    return known is not None and known.identity.get(level) == identities().of_level(level, text)


def climb(task: Task, say: Callable[[str | Row], None]) -> None:
    """Say the row of one model after each level."""
    tempfile.tempdir = str(task.folder)  # what a model leaves there goes with it
    row = Row(task.model, task.module)
    for level in LEVELS:
        if level != "port" and _stays(task.known, level, row.identity.get(_TEXT, "")):
            assert task.known is not None
            row = _taken_over(row, task.known, level)
        elif level == "port" or (LEVELS.index(level) <= LEVELS.index(task.level) and _applies(level, row, task)):
            say(level)
            row = _run(level, row, task)
        else:
            continue
        say(row)
        if row.failure is not None:
            return


def _applies(level: str, row: Row, task: Task) -> bool:
    return applies(level, row, task.everything)


def _taken_over(row: Row, known: Row, level: str) -> Row:
    fields: Found = {level: getattr(known, level)}
    seconds = {level: known.seconds[level]} if level in known.seconds else {}
    identity = {**row.identity, level: known.identity[level]}
    return replace(row, **fields, seconds={**row.seconds, **seconds}, identity=identity)


def _run(level: str, row: Row, task: Task) -> Row:
    begun = _spent()
    try:
        found = _LEVELS[level](row, task)
    except NoAnswer as error:
        return replace(row, failure={"level": level, "what": str(error)})
    except Exception as error:  # porter's own fault, or what a model raises
        return replace(row, failure={"level": level, "what": _told(error)})
    return replace(row, **found, seconds={**row.seconds, level: round(_spent() - begun, 1)})


def _spent() -> float:
    """Seconds of processors, also of processes that this one has waited for: what others do at the same time is none."""
    return sum(os.times()[:4])


def _port(row: Row, task: Task) -> Found:
    source = load_source(task.module)
    if isinstance(source, Refused):
        return {"outcome": "refused", "refusal": _first(source)}
    identity = {"port": identities().of_port(source)}
    ported = convert(source, name=task.model, rules=task.rules)
    written = ported if isinstance(ported, Refused) else emit(ported, task.folder / task.model, force=True)
    if isinstance(ported, Refused) or isinstance(written, Refused):
        refused = ported if isinstance(ported, Refused) else written
        assert isinstance(refused, Refused)
        return {"outcome": "refused", "refusal": _first(refused), "identity": identity}
    identity[_TEXT] = text_of(source, ported.code)
    return {"outcome": "converted", **accounts(ported.sites), "identity": identity}


def accounts(sites: Iterable[SiteReport]) -> dict[str, Any]:
    """The fields of a row that say what became of the sites."""
    by_kind: dict[str, Counter[str]] = {}
    still_open: dict[str, str] = {}
    for site in sites:
        by_kind.setdefault(site.kind, Counter())[site.status] += 1
        if site.status not in WHOLE or site.kind == "unknown":
            still_open[site.name] = "unknown" if site.kind == "unknown" else site.status
    return {"sites": {kind: dict(counts) for kind, counts in by_kind.items()}, "open": still_open}


def _parity(row: Row, task: Task) -> Found:
    from porter.verify.brief import STEPS, compare
    from porter.verify.port import open_to_compare

    port = open_to_compare(task.folder / task.model)
    compared = port if isinstance(port, Refused) else compare(port)
    if isinstance(compared, Refused):
        raise NoAnswer(_said(compared.diagnostics[0]))
    found = {
        "outcome": "equal" if compared.equal else "different",
        "logits": float(f"{compared.figure:.1e}"),
        "tokens": f"{STEPS} equal" if compared.same_tokens else "differ",
        "ops": compared.ops,
    }
    return _known_again("parity", found, row)


def _variants(row: Row, task: Task) -> Found:
    from porter.verify.parity import verify

    checks = verify(task.folder / task.model)
    if isinstance(checks, Refused):
        raise NoAnswer(_said(checks.diagnostics[0]))
    failed = [f"{check.variant}: {check.name}: {check.detail or check.figure}" for check in checks if check.failed]
    found: Found = {"outcome": "failed" if failed else "passed"}
    found |= {"checks": sum(check.passed for check in checks) + len(failed)}
    found |= {"configurations": len({check.variant for check in checks if check.passed or check.failed})}
    return _known_again("variants", {**found, **({"detail": "; ".join(failed)} if failed else {})}, row)


def _capture(row: Row, task: Task) -> Found:
    from porter.verify.capture import capture

    checks = capture(task.folder / task.model)
    if isinstance(checks, Refused):
        raise NoAnswer(_said(checks.diagnostics[0]))
    failed = [check for check in checks if check.failed]
    passed = any(check.passed for check in checks)
    found: Found = {"outcome": "failed" if failed else "passed" if passed else "not applicable"}
    for check in checks:
        if check.figure is not None:
            found[check.name] = max(int(check.figure), found.get(check.name, 0))
    told = [f"{check.variant}: {check.name}: {check.detail or check.figure}" for check in failed]
    told += [] if passed or failed else [checks[0].detail]
    return _known_again("capture", {**found, **({"detail": "; ".join(told)} if told else {})}, row)


def _lowering(row: Row, task: Task) -> Found:
    from porter.lowering.lower import PHASES, lower

    lowered = lower(task.folder / task.model, baseline=True, attempts=False)
    if isinstance(lowered, Refused):
        raise NoAnswer(_said(lowered.diagnostics[0]))
    kernels = {
        name: {
            side: step.kernels if step.converts else None
            for side, steps in (("source", lowered.source), ("port", lowered.port))
            for step in steps
            if step.name == name
        }
        for name in PHASES
    }
    stopped = {
        f"{side} {step.name}": step.unconverted.op or step.unconverted.reason
        for side, steps in (("source", lowered.source), ("port", lowered.port))
        for step in steps
        if step.unconverted is not None
    }
    found = {"outcome": "converts" if lowered.converts else "does not convert", "kernels": kernels}
    return _known_again("lowering", {**found, "unconverted": stopped, "torch_npu": lowered.torch_npu}, row)


def _known_again(level: str, found: Found, row: Row) -> Found:
    """The field of a level, with what its result hangs on."""
    identity = {**row.identity, level: identities().of_level(level, row.identity[_TEXT])}
    return {level: found, "identity": identity}


_LEVELS: dict[str, Callable[[Row, Task], Found]] = {
    "port": _port,
    "parity": _parity,
    "variants": _variants,
    "capture": _capture,
    "lowering": _lowering,
}


def _first(refused: Refused) -> Found:
    first = refused.diagnostics[0]
    place = {"place": f"{first.span.path}:{first.span.line}"} if first.span else {}
    return {"code": first.code, "message": first.message, **place}


def _said(diagnostic: Diagnostic) -> str:
    return "; ".join((diagnostic.message, *diagnostic.notes))


def _told(error: Exception) -> str:
    """What was raised, and where."""
    lines = str(error).strip().splitlines()
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = "".join(f" ({Path(frame.filename).name}:{frame.lineno})" for frame in last)
    return f"{type(error).__name__}{': ' if lines else ''}{lines[0][:300] if lines else ''}{place}"

"""What each rule contributes: the port is converted again without one rule at a time, and each of these is lowered.

Contract: the source and options are those in the port's account; the ports made for this are temporary. A rule that
others require takes them along: `also` names them. Everything is lowered in one process.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from porter.convert import convert
from porter.diagnostics import Refused
from porter.emit import emit
from porter.emit.account import read_account
from porter.lowering.count import Phase
from porter.lowering.installation import Progress
from porter.lowering.lower import SOC, file_of, phases_of, traces_of
from porter.lowering.process import ask
from porter.rulebook import LoadedRule
from porter.source import Source, load_source
from porter.verify.port import Port, open_port, open_to_compare


@dataclass(frozen=True)
class Contribution:
    """The port without one rule; `without` is empty for all rules. A phase has two counts, or what stopped it."""

    without: str
    also: tuple[str, ...] = ()
    prefill: dict[str, Any] = field(default_factory=dict)
    decode: dict[str, Any] = field(default_factory=dict)
    refused: str = ""  # why there is no port without this rule


def contributions(
    directory: Path,
    *,
    soc: str = SOC,
    rules: tuple[str, ...] = (),
    book: tuple[LoadedRule, ...] | None = None,
    progress: Progress | None = None,
    trust_remote_code: bool = False,
) -> tuple[Contribution, ...] | Refused:
    """All rules first, then without each of `rules`, or of those the port was made with.

    book: the rules to make it again by; without them those that come with porter.
    """
    opened = open_to_remake(directory, trust_remote_code=trust_remote_code)
    if isinstance(opened, Refused):
        return opened
    with tempfile.TemporaryDirectory(prefix="porter-by-rule-") as name:
        made = opened.without_each(rules, book, Path(name))
        traces = [trace for _, there in made if there for trace in traces_of(there, "port", None, "growing", (1, 2))]
        answer = ask("lower", {"soc": soc, "traces": traces, "text": False}, progress or (lambda *step: None))
        if isinstance(answer, Refused):
            return answer
        results = list(zip(traces, answer["traces"], strict=True))
        return tuple(_counted(entry, there, results) for entry, there in made)


@dataclass(frozen=True)
class Remake:
    """A port whose source and account are there, so that it can be made again with fewer rules."""

    port: Port
    source: Source
    account: dict[str, Any]

    def without_each(
        self, rules: tuple[str, ...], book: tuple[LoadedRule, ...] | None, root: Path
    ) -> list[tuple[Contribution, Port | None]]:
        """With all rules, then without each of `rules`, or of those it was made with; below `root`. None: there is no
        port without this rule."""
        used = tuple(rule["rule"] for rule in self.account["rules"])
        return [self._without(each, used, book, root) for each in ("", *(rules or used))]

    def _without(
        self, without: str, used: tuple[str, ...], book: tuple[LoadedRule, ...] | None, root: Path
    ) -> tuple[Contribution, Port | None]:
        name, options = self.account["name"], self.account.get("options") or {}
        dropped = (*options.get("without", ()), *((without,) if without else ()))
        keep, unproved = tuple(options.get("keep", ())), bool(options.get("unproved"))
        ported = convert(self.source, name=name, keep=keep, without=dropped, rules=book, unproved=unproved)
        folder = root / (without or "all")
        written = ported if isinstance(ported, Refused) else emit(ported, folder / name)
        if isinstance(ported, Refused) or isinstance(written, Refused):
            fault = ported if isinstance(ported, Refused) else written
            assert isinstance(fault, Refused)
            return Contribution(without, refused=fault.diagnostics[0].message), None
        port = open_port(folder / name, trust_remote_code=True)  # as the port that it is made again from
        assert not isinstance(port, Refused), port
        left = {rule for rule, _ in ported.rules}
        return Contribution(without, tuple(rule for rule in used if rule not in left and rule != without)), port


def open_to_remake(directory: Path, *, trust_remote_code: bool = False) -> Remake | Refused:
    """Refused as `open_to_compare` is, and where the account or the source is gone. Its own files are not run."""
    account = read_account(directory)
    if isinstance(account, Refused):
        return account
    port = open_to_compare(directory, edited=True, trust_remote_code=trust_remote_code)
    if isinstance(port, Refused):
        return port
    spec = port.origin.spec
    source = spec if isinstance(spec, Refused) else load_source(spec)
    return source if isinstance(source, Refused) else Remake(port, source, account)


def _counted(entry: Contribution, port: Port | None, results: list[Any]) -> Contribution:
    if port is None:
        return entry
    own = [item for item in results if item[0]["directory"] == str(port.directory.resolve())]
    prefill, decode = (_figures(step) for step in phases_of(own, file_of(port)))
    return replace(entry, prefill=prefill, decode=decode)


def _figures(step: Phase) -> dict[str, Any]:
    if step.unconverted is not None:
        return {"unconverted": step.unconverted.op or step.unconverted.reason}
    return {"kernels_a_layer": step.kernels, "kernels_once_a_step": step.once_a_step}

"""`porter survey`: every causal language model of the installed transformers, converted or refused with its reason."""

from __future__ import annotations

import tempfile
import traceback
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from porter.cli.convert import default_name
from porter.cli.models import FOLDER, other_release_installed
from porter.cli.talk import FAILED, Command, as_json, print_json, progress, put, refuse, say, was_interrupted
from porter.diagnostics import Diagnostic, Refused
from porter.report.diagnostic import to_json

if TYPE_CHECKING:
    from porter.rulebook import LoadedRule

LIBRARY = "transformers.models"


@dataclass(frozen=True)
class Outcome:
    """What became of one file: `converted`, `refused` or `crashed`, and the counts of its sites."""

    module: str
    outcome: str
    class_name: str | None = None
    sites: tuple[tuple[str, str, str | None], ...] = ()  # name, status, reason
    unknown: tuple[str, ...] = ()  # sites of classes that have no role
    diagnostics: tuple[Diagnostic, ...] = ()
    crash: str | None = None
    verified: str | None = None  # "equal", "different" or "error", with --verify
    figure: float | None = None  # largest difference of the logits, over their scale
    detail: str = ""

    @property
    def whole(self) -> bool:
        """Whether nothing is left, and nothing unknown."""
        ported = all(status == "ported" for _, status, _ in self.sites)
        return self.outcome == "converted" and ported and not self.unknown


@click.command(cls=Command)
@click.option("--limit", metavar="N", type=click.IntRange(min=1), help="Stop after so many files.")
@click.option("--out", metavar="DIR", type=click.Path(path_type=Path), help="Also write the ports into this folder.")
@click.option("--verify", is_flag=True, help="Also compare each port, tiny and on the CPU, with its source: minutes.")
@as_json
def survey(limit: int | None, out: Path | None, verify: bool, as_json: bool) -> int:
    """Convert, or refuse with a reason, every modeling file of the installed transformers with a causal language model.

    Writes nothing without --out, and runs nothing but, with --verify, the library's own code. Exit 0 when none of them
    made porter fail, however many were refused.
    """
    from porter.rulebook import load_rules
    from porter.shipped import shipped

    modules = (other_release_installed() if verify else None) or causal_modules()
    if isinstance(modules, Refused):
        return refuse(modules, as_json=as_json)
    rules = load_rules(shipped("rules"))
    if isinstance(rules, Refused):
        return refuse(rules, as_json=as_json)
    modules = modules[:limit]
    with tempfile.TemporaryDirectory() as scratch:
        folder = out if out is not None or not verify else Path(scratch)
        surveyed = progress(modules, f"surveying {len(modules)} files", len(modules))
        outcomes = [_survey_one(module, folder, rules) for module in surveyed]
        if verify and folder is not None:
            outcomes = _verified(outcomes, folder)
    counts = Counter(outcome.outcome for outcome in outcomes)
    counts.update(f"verified {outcome.verified}" for outcome in outcomes if outcome.verified)
    wrong = counts["crashed"] + counts["verified different"]
    if as_json:
        print_json({"ok": not wrong, "outcomes": [_data(outcome) for outcome in outcomes], **counts})
    else:
        _print_text(outcomes, counts)
    for outcome in outcomes:
        if outcome.crash:
            say(f"\n{outcome.module}\n{outcome.crash}")
    return FAILED if wrong else 0


def _print_text(outcomes: list[Outcome], counts: Counter[str]) -> None:
    for outcome in outcomes:
        put(_line(outcome))
    left = sum(status in ("left", "partly") for outcome in outcomes for _, status, _ in outcome.sites)
    total = sum(len(outcome.sites) for outcome in outcomes)
    kinds = ("converted", "refused", "crashed")
    summary = ", ".join(f"{counts[kind]} {kind}" for kind in kinds)
    whole = sum(outcome.whole for outcome in outcomes)
    put(f"\n{len(outcomes)} files: {summary}; of {total} sites of ports {left} are left, whole or in part")
    put(f"{whole} are whole: every site is ported, and nothing in them is unknown")
    compared = [f"{counts[kind]} {kind.removeprefix('verified ')}" for kind in sorted(counts) if " " in kind]
    if compared:
        put(f"compared with their sources: {', '.join(compared)}")


def _verified(outcomes: list[Outcome], folder: Path) -> list[Outcome]:
    """The outcomes with what a comparison of each port with its source gave."""
    from porter.verify.sweep import sweep

    converted = [outcome for outcome in outcomes if outcome.outcome == "converted"]
    names = [outcome.module.split(".")[-2] for outcome in converted]
    swept = sweep(
        [(name, folder / name) for name in names],
        progress=lambda what, done, total: say(f"compared {what}, {done} of {total}"),
    )
    found = {
        outcome.module: replace(outcome, verified=result.outcome, figure=result.figure, detail=result.detail)
        for outcome, result in zip(converted, swept, strict=True)
    }
    return [found.get(outcome.module, outcome) for outcome in outcomes]


def causal_modules() -> tuple[str, ...] | Refused:
    """Names of the library's modules that define a `*ForCausalLM` class, or one that is mapped to such, in order."""
    from porter.anatomy.mapping import causal_names
    from porter.source.installed import locate_module

    located = locate_module(LIBRARY)
    if isinstance(located, Refused):
        return located
    files = sorted(located[0].glob("*/modeling_*.py"))
    mapped = causal_names()
    return tuple(f"{LIBRARY}.{path.parent.name}.{path.stem}" for path in files if _defines_causal_class(path, mapped))


def _defines_causal_class(path: Path, mapped: frozenset[str]) -> bool:
    """A cheap look at the lines; whether it is a model is for the anatomy to say."""
    lines = path.read_text(encoding="utf-8").split("\n")
    heads = (line.removeprefix("class ").split("(")[0].rstrip(":") for line in lines if line.startswith("class "))
    return any(head.endswith("ForCausalLM") or head in mapped for head in heads)


def _survey_one(module: str, out: Path | None, rules: tuple[LoadedRule, ...]) -> Outcome:
    from porter.convert import convert
    from porter.emit import emit, render_port
    from porter.source import load_source

    try:
        source = load_source(module)
        if isinstance(source, Refused):
            return Outcome(module, "refused", diagnostics=source.diagnostics)
        ported = convert(source, name=default_name(source), rules=rules)
        if isinstance(ported, Refused):
            return Outcome(module, "refused", diagnostics=ported.diagnostics)
        if out is not None:
            written = emit(ported, out / ported.name, force=True)
            if isinstance(written, Refused):
                return Outcome(module, "refused", diagnostics=written.diagnostics)
        else:
            render_port(ported, FOLDER / ported.name)
    except Exception as error:  # one model that porter fails on must not hide the others
        if was_interrupted(error):
            raise KeyboardInterrupt from error
        return Outcome(module, "crashed", crash=traceback.format_exc())
    sites = tuple((site.name, site.status, site.reason) for site in ported.sites)
    unknown = tuple(site.name for site in ported.sites if site.kind == "unknown")
    return Outcome(module, "converted", ported.causal_class, sites, unknown)


def _line(outcome: Outcome) -> str:
    name = outcome.module.removeprefix(f"{LIBRARY}.")
    if outcome.outcome == "converted":
        counts = Counter(status for _, status, _ in outcome.sites)
        compared = f"; {outcome.verified}: {outcome.detail}" if outcome.verified else ""
        return f"{name}: {counts['ported']} of {len(outcome.sites)} sites ported{compared}"
    if outcome.crash:
        return f"{name}: crashed: {outcome.crash.strip().splitlines()[-1]}"
    return "\n".join(f"{name}: refused: {_located(diagnostic)}" for diagnostic in outcome.diagnostics[:1])


def _located(diagnostic: Diagnostic) -> str:
    span = diagnostic.span
    place = f" ({span.path}:{span.line}:{span.column + 1})" if span else ""
    return f"[{diagnostic.code}] {diagnostic.message}{place}"


def _data(outcome: Outcome) -> dict[str, Any]:
    return {
        "module": outcome.module,
        "outcome": outcome.outcome,
        "class": outcome.class_name,
        "whole": outcome.whole,
        "unknown": list(outcome.unknown),
        "sites": [{"site": name, "status": status, "reason": reason} for name, status, reason in outcome.sites],
        "diagnostics": [to_json(diagnostic) for diagnostic in outcome.diagnostics],
        "crash": outcome.crash,
        "verified": outcome.verified,
        "figure": outcome.figure,
        "detail": outcome.detail,
    }

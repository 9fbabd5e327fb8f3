"""A port's folder -> what TorchAir makes of its prefill and its decode step; on request of its source model's too.

Contract: claims that a graph converts and how many kernels it has, not that a kernel computes anything: none is run on a
device. The port is measured with its static cache; the source with eager attention and the growing cache, which is the
one setting of it that converts, and its other settings are tried and named.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from porter.diagnostics import Refused
from porter.installed import locate_module
from porter.lowering.count import Phase, Unconverted, phase, unconverted
from porter.lowering.installation import Progress
from porter.lowering.process import ask
from porter.verify.port import Port, open_port

PHASES = ("prefill", "decode")
SOC = "Ascend910B3"
_BASELINE = ("eager", "growing")
_ATTEMPTS = (("eager", "static"), ("sdpa", "growing"), ("sdpa", "static"))


@dataclass(frozen=True)
class Attempt:
    """A setting of the source model, tried with one layer; None: it converts."""

    setting: str
    phase: str
    unconverted: Unconverted | None


@dataclass(frozen=True)
class Lowering:
    """`source` and `attempts` are empty where no baseline was asked for; `text`: the GE graphs of two layers."""

    name: str
    soc: str
    torch_npu: str
    cann: str  # "stand-in" or "installed"
    port: tuple[Phase, ...]
    source: tuple[Phase, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    text: str = ""

    @property
    def converts(self) -> bool:
        return all(step.converts for step in self.port)


def lower(
    directory: Path, *, soc: str = SOC, baseline: bool = False, text: bool = False, progress: Progress | None = None
) -> Lowering | Refused:
    """Lower the port in `directory` for the chip `soc`. Refused where there is no port or no torch_npu to be had."""
    port = open_port(directory)
    if isinstance(port, Refused):
        return port
    traces = _traces("port", None, "growing")
    if baseline:
        traces += _traces("source", *_BASELINE)
        traces += [_trace("source", *setting, name, 1) for setting in _ATTEMPTS for name in PHASES]
    job = {"directory": str(directory.resolve()), "soc": soc, "traces": traces, "text": text}
    answer = ask("lower", job, progress or (lambda what, done, total: None))
    if isinstance(answer, Refused):
        return answer
    made = list(zip(traces, answer["traces"], strict=True))
    own, theirs = _file(port), _source_file(port)
    return Lowering(
        port.name,
        soc,
        answer["torch_npu"],
        answer["cann"],
        _phases([item for item in made if item[0]["model"] == "port"], own),
        _phases([item for item in made if _is_baseline(item[0])], theirs) if baseline else (),
        _attempts([item for item in made if item[0]["model"] == "source" and not _is_baseline(item[0])], theirs),
        _text(made) if text else "",
    )


Made = tuple[dict[str, Any], dict[str, Any]]  # what was asked, what came of it


def _traces(model: str, attention: str | None, cache: str) -> list[dict[str, Any]]:
    return [_trace(model, attention, cache, name, layers) for name in PHASES for layers in (1, 2, 3)]


def _trace(model: str, attention: str | None, cache: str, name: str, layers: int) -> dict[str, Any]:
    return {"model": model, "attention": attention, "cache": cache, "phase": name, "layers": layers}


def _is_baseline(asked: dict[str, Any]) -> bool:
    return asked["model"] == "source" and (asked["attention"], asked["cache"]) == _BASELINE


def _file(port: Port) -> str:
    return str(port.directory.resolve() / f"{port.module}.py")


def _source_file(port: Port) -> str:
    located = locate_module(port.source_module)
    return "" if isinstance(located, Refused) else str(located[0])


def _phases(made: list[Made], file: str) -> tuple[Phase, ...]:
    phases = []
    for name in PHASES:
        results = [result for asked, result in made if asked["phase"] == name]
        failed = next((result["failure"] for result in results if result["failure"]), None)
        if failed is not None:
            phases.append(Phase(name, unconverted(failed, file)))
        else:
            phases.append(phase(name, [result["nodes"] for result in results], file))
    return tuple(phases)


def _attempts(made: list[Made], file: str) -> tuple[Attempt, ...]:
    return tuple(
        Attempt(
            f"{asked['attention']} attention, {asked['cache']} cache",
            asked["phase"],
            unconverted(result["failure"], file) if result["failure"] else None,
        )
        for asked, result in made
    )


def _text(made: list[Made]) -> str:
    """Every phase of every model with two layers, under a heading each."""
    return "".join(
        f"# {asked['model']}, {asked['phase']}, {asked['layers']} layers\n{result['text']}\n"
        for asked, result in made
        if asked["layers"] == 2 and result["text"]
    )

"""A port's folder -> what TorchAir makes of its prefill and its decode step; on request of its source model's too.

Contract: claims that a graph converts and how many kernels it has, not that a kernel computes anything: none is run on
a device. The port is measured with its static cache; the source with eager attention and the growing cache, and its
other settings are tried with one layer and named.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from porter.diagnostics import Refused
from porter.lowering.count import Phase, Unconverted, phase, unconverted
from porter.lowering.installation import Progress
from porter.lowering.process import ask
from porter.verify.port import Port, open_port, open_to_compare

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
    directory: Path,
    *,
    soc: str = SOC,
    baseline: bool = False,
    attempts: bool = True,
    text: bool = False,
    progress: Progress | None = None,
    edited: bool = False,
    trust_remote_code: bool = False,
) -> Lowering | Refused:
    """Lower the port in `directory` for the chip `soc`. Refused as `open_port` is, or with no torch_npu to be had.

    With a baseline also where what it was made from is gone or changed; `attempts`: its other settings too.
    """
    opened = open_to_compare if baseline else open_port
    port = opened(directory, edited=edited, trust_remote_code=trust_remote_code)
    if isinstance(port, Refused):
        return port
    traces = traces_of(port, "port", None, "growing")
    if baseline:
        traces += traces_of(port, "source", *_BASELINE)
        others = _ATTEMPTS if attempts else ()
        traces += [trace for setting in others for trace in traces_of(port, "source", *setting, (1,))]
    answer = ask("lower", {"soc": soc, "traces": traces, "text": text}, progress or (lambda *step: None))
    if isinstance(answer, Refused):
        return answer
    made = list(zip(traces, answer["traces"], strict=True))
    theirs = _source_file(port)
    return Lowering(
        port.name,
        soc,
        answer["torch_npu"],
        answer["cann"],
        phases_of([item for item in made if item[0]["model"] == "port"], file_of(port)),
        phases_of([item for item in made if _is_baseline(item[0])], theirs) if baseline else (),
        _attempts([item for item in made if item[0]["model"] == "source" and not _is_baseline(item[0])], theirs),
        _text(made) if text else "",
    )


Made = tuple[dict[str, Any], dict[str, Any]]  # what was asked, what came of it


def traces_of(
    port: Port, model: str, attention: str | None, cache: str, layers: tuple[int, ...] = (1, 2, 3)
) -> list[dict[str, Any]]:
    """What to ask the worker about `model`, `port` or `source`: each phase with each number of layers."""
    asked = {"directory": str(port.directory.resolve()), "model": model, "attention": attention, "cache": cache}
    return [{**asked, "phase": name, "layers": count} for name in PHASES for count in layers]


def phases_of(made: list[Made], file: str) -> tuple[Phase, ...]:
    """Prefill and decode of one model, from its traces by rising number of layers."""
    phases = []
    for name in PHASES:
        results = [result for asked, result in made if asked["phase"] == name]
        failed = next((result["failure"] for result in results if result["failure"]), None)
        if failed is not None:
            phases.append(Phase(name, unconverted(failed, file)))
        else:
            phases.append(phase(name, [result["nodes"] for result in results], file))
    return tuple(phases)


def _is_baseline(asked: dict[str, Any]) -> bool:
    return asked["model"] == "source" and (asked["attention"], asked["cache"]) == _BASELINE


def file_of(port: Port) -> str:
    """The ported modeling file."""
    return str(port.directory.resolve() / f"{port.module}.py")


def _source_file(port: Port) -> str:
    located = port.origin.locate()
    return "" if isinstance(located, Refused) else str(located)


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

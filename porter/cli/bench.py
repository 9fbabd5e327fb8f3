"""`porter bench`: prefill and decode of a port against its source, as ratios, and decode against the memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from porter.cli.consent import trust_option
from porter.cli.idle import refuse_idle
from porter.cli.models import edited_option, other_release_installed, say_if_edited, takes_port
from porter.cli.talk import Command, answer, as_json, refuse, say, steps
from porter.diagnostics import Refused
from porter.report.blocks import Report, tabulated

if TYPE_CHECKING:
    from porter.bench.generation import Comparison, Shape
    from porter.verify.port import Port

_HEADER = ("shape", "mode", "phase", "port ms", "source ms", "ratio", "spread", "bandwidth")


@click.command(cls=Command)
@takes_port
@click.option("--mode", "modes", type=click.Choice(["eager", "compiled"]), multiple=True, help="By default both.")
@click.option("--backend", metavar="B", help="Of the compiled mode; by default the first that can.")
@click.option("--rounds", type=click.IntRange(min=1), default=7, show_default=True, help="Port and source in turns.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--device", metavar="D", default="cpu", show_default=True, help="cpu, cuda or npu.")
@click.option("--large", is_flag=True, help="A model of Llama-2-7B's shape in bfloat16: for a card with 40 GB or more.")
@click.option("--quick", is_flag=True, help="Only the smallest shape.")
@edited_option
@trust_option
@as_json
def bench(
    directory: Path,
    modes: tuple[str, ...],
    backend: str | None,
    rounds: int,
    threads: int,
    device: str,
    large: bool,
    quick: bool,
    edited: bool,
    trust_remote_code: bool,
    as_json: bool,
) -> int:
    """Time the port NAME, or in DIR, against the model it came from: small shapes, random weights.

    A ratio below 1 is a port that is quicker. The spread is the least and the greatest of the rounds. On the CPU one
    thread is timed by its own clock, several by the wall's. The bandwidth is what a decode step of the port must read,
    weights and KV cache, as a share of what a copy moves in its time: over 100 % where the processor's cache helps.

    \b
    Examples:
      porter bench llama2 --mode eager
      porter bench llama2 --device cuda --large
      porter bench mine --models ~/project/generated_models
    """
    if large and quick:
        raise click.UsageError("--large is one shape, --quick another: give one of them.")
    refuse_idle(set(modes) != {"eager"}, "in eager mode", "backend")
    fault = other_release_installed()
    if fault is not None:
        return refuse(fault, as_json=as_json)
    from porter.verify.port import open_to_compare

    opened = open_to_compare(directory, edited=edited, trust_remote_code=trust_remote_code)
    if isinstance(opened, Refused):
        return refuse(opened, as_json=as_json)
    changed = say_if_edited(opened.directory) if edited else ()
    source = opened.load_source_class()
    if isinstance(source, Refused):
        return refuse(source, as_json=as_json)
    import torch

    from porter.bench.generation import LLAMA_2_7B, MODES, SHAPES

    torch.set_num_threads(threads)
    shapes = (LLAMA_2_7B,) if large else SHAPES[:1] if quick else SHAPES
    found = _compared(opened, shapes, modes or MODES, rounds, backend, device)
    if isinstance(found, Refused):
        return refuse(found, as_json=as_json)
    if "compiled" in (modes or MODES) and all(comparison.mode != "compiled" for comparison in found):
        say("compiled: left out, this port keeps its source's KV cache, which grows")
    place = f"the CPU, {threads} thread{'s' * (threads > 1)}" if device == "cpu" else device
    document = {
        "name": opened.name,
        "device": device,
        "threads": threads,
        "edited": list(changed),
        "comparisons": _rows(found),
    }
    return answer(True, lambda: _report(found, place), lambda: document, as_json=as_json)


def _compared(
    port: Port, shapes: tuple[Shape, ...], modes: tuple[str, ...], rounds: int, backend: str | None, device: str
) -> list[Comparison] | Refused:
    """The comparisons, each told as soon as it is there."""
    from porter.bench.generation import compare
    from porter.emit.model_file import CannotLoad
    from porter.runner import CannotRun

    found: list[Comparison] = []
    total = len(shapes) * len(modes)
    try:
        with steps(f"timing {port.name}") as tell:
            tell("", 0, total)
            for comparison in compare(port, shapes, modes, rounds, backend=backend, device=device):
                tell(f"{comparison.shape}, {comparison.mode}: done", len(found), total)
                found.append(comparison)
                tell("", len(found), total)
    except (CannotRun, CannotLoad) as error:
        return Refused((error.diagnostic,))
    return found


def _report(comparisons: list[Comparison], place: str) -> Report:
    rows = [
        (
            str(comparison.shape),
            comparison.mode,
            ratio.phase,
            f"{ratio.port_ms:.2f}",
            f"{ratio.source_ms:.2f}",
            f"{ratio.ratio:.2f}",
            "{:.2f} to {:.2f}".format(*ratio.spread),
            f"{comparison.bandwidth_share(ratio.port_ms):.0%}" if ratio.phase == "decode" else "",
        )
        for comparison in comparisons
        for ratio in comparison.ratios
    ]
    claim = "" if place.startswith("npu") else "; kernel: not run"
    closing = f"port / source on {place}, milliseconds a step{claim}"
    return [tabulated(_HEADER, rows, right=(3, 4, 5, 7)), closing]


def _rows(comparisons: list[Comparison]) -> list[dict[str, Any]]:
    return [
        {
            "shape": comparison.shape.name,
            "dtype": str(comparison.shape.dtype).removeprefix("torch."),
            "batch": comparison.shape.batch,
            "prompt": comparison.shape.prompt,
            "mode": comparison.mode,
            "phase": ratio.phase,
            "port_ms": ratio.port_ms,
            "source_ms": ratio.source_ms,
            "ratio": ratio.ratio,
            "ratios": list(ratio.ratios),
            "bandwidth_share": comparison.bandwidth_share(ratio.port_ms) if ratio.phase == "decode" else None,
        }
        for comparison in comparisons
        for ratio in comparison.ratios
    ]

"""`porter accept`: a port on a device, op by op and whole, into a record beside it and a page."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from porter.cli.completion import configs
from porter.cli.consent import trust_option
from porter.cli.models import edited_option, other_release_installed, say_if_edited, takes_port
from porter.cli.talk import Command, answer, as_json, refuse, say, steps
from porter.diagnostics import Diagnostic, Refused, refused

if TYPE_CHECKING:
    from porter.verify.port import Port

_SILENT = "Seconds that a probe may say nothing; where models are loaded, 5 times that."
_SHARE = 0.75  # of this machine's memory, that a probe may take on the CPU


@click.command(cls=Command)
@takes_port
@click.option("--device", type=click.Choice(("npu", "cuda", "cpu")), default="npu", show_default=True)
@click.option("--model-path", metavar="CHECKPOINT", type=click.Path(path_type=Path), help="Real weights: compared too.")
@click.option(
    "--config", metavar="JSON", shell_complete=configs,
    help="The sizes of the ops: a config.json, or a name such as llama-2-7b.",
)  # fmt: skip
@click.option("--tp", type=click.IntRange(1), default=1, show_default=True, help="Tensor-parallel ranks.")
@click.option("--backend", metavar="NAME", help="What compiles the steps [as `porter run` chooses].")
@click.option("--resume/--fresh", default=True, show_default=True, help="Go on with the record, or begin anew.")
@click.option("--time-limit", type=click.FloatRange(1), default=120.0, show_default=True, help=_SILENT)
@click.option("--html", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="Write the page.")
@click.option("--stand-ins", metavar="FILE", type=click.Path(exists=True, path_type=Path), hidden=True)
@edited_option
@trust_option
@as_json
def accept(directory: Path, html: Path | None, as_json: bool, **asked: Any) -> int:
    """Run the port in DIR on a device: every op it uses, what people saw go wrong, and the model, with figures.

    Each probe runs in a process of its own, so that a hang or a crash costs that probe alone. The record is
    accept.json beside the port; started again, it goes on. `--device cpu` rehearses all of it without a device.

    \b
    Examples:
      porter accept llama2
      porter accept llama2 --model-path CHECKPOINT --config CHECKPOINT/config.json --html llama2.html
      porter accept llama2 --device cpu --html rehearsal.html
    """
    if asked["stand_ins"] is not None and asked["device"] != "cpu":
        raise click.UsageError("stand-ins are for a rehearsal: --device cpu")
    record = _run(directory, **asked)
    if isinstance(record, Refused):
        return refuse(record, as_json=as_json)
    from porter.accept.record import is_accepted
    from porter.report.acceptance import of_acceptance
    from porter.report.acceptance_page import page

    if html is not None:
        try:
            html.write_text(page(record), encoding="utf-8")
        except OSError as error:
            message = f"cannot write `{html}`: {error.strerror or error}"
            return refuse(Refused((Diagnostic("P074", message, help="give --html another file"),)), as_json=as_json)
        say(f"wrote {html}")
    return answer(is_accepted(record), lambda: of_acceptance(record), lambda: {"record": record}, as_json=as_json)


def _run(
    directory: Path, *, device: str, edited: bool, trust_remote_code: bool, **asked: Any
) -> dict[str, Any] | Refused:
    """The record, when every probe has been asked."""
    from porter.accept.stack import load_device_package

    fault = other_release_installed() or load_device_package(device)
    if fault is not None:
        return fault
    from porter.emit.model_file import CannotLoad
    from porter.verify.port import open_to_compare

    port = open_to_compare(directory, edited=edited, trust_remote_code=trust_remote_code)
    if isinstance(port, Refused):
        return port
    if edited:
        say_if_edited(directory)
    try:
        return _filled(directory, port, device, **asked)
    except CannotLoad as error:
        return Refused((error.diagnostic,))
    except OSError as error:
        message = f"the record in `{directory}` cannot be written: {error.strerror or error}"
        return refused("P074", message, "what was found until then is in it; see that there is room")


def _filled(
    directory: Path, port: Port, device: str, *, resume: bool, time_limit: float, stand_ins: Path | None, **asked: Any
) -> dict[str, Any] | Refused:
    from porter.accept.begin import begin
    from porter.accept.plan import NotTaken, plan
    from porter.accept.run import run
    from porter.matrix.processes import Limits

    limits = Limits(time_limit, _memory(device))
    begun = begin(directory, port, device, limits=limits, stand_ins=stand_ins, **asked)
    if isinstance(begun, Refused):
        return begun
    record, others, what = begun
    try:
        probes = plan(what)
    except NotTaken as error:
        return refused("P116", str(error), "give another --config or --tp")
    with steps(f"accepting {port.name}", forks=True) as tell:
        for number, told in enumerate(run(directory, record, others, probes, limits=limits, fresh=not resume)):
            kept = ", as recorded" if told.kept else ""
            tell(f"{told.probe.title}: {told.outcome}{kept}", number, len(probes))
    return record


def _memory(device: str) -> float:
    """GiB that a probe may take: drivers map far more of it than there is."""
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return whole * _SHARE if device == "cpu" else 1 << 20

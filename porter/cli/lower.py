"""`porter lower`: a port through the NPU compiler's front end, here, with figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from porter.cli.consent import trust_option
from porter.cli.idle import refuse_idle
from porter.cli.models import edited_option, other_release_installed, say_if_edited, takes_port
from porter.cli.predicted import check_usage, predict_options, predicted
from porter.cli.rulebook import recorded_rules, rulebook, rules_option
from porter.cli.talk import Command, answer, as_json, refuse, say, steps, verbose_option
from porter.diagnostics import Diagnostic, Refused

if TYPE_CHECKING:
    from porter.graph.execute import Execution


@click.command(cls=Command)
@takes_port
@click.option("--soc", default="Ascend910B3", show_default=True, help="The chip, as its driver names it.")
@click.option("--baseline", is_flag=True, help="The source model too, side by side.")
@click.option("--by-rule", is_flag=True, help="What each rule contributes: without one rule at a time.")
@click.option("--execute", is_flag=True, help="The graphs executed on the CPU too, beside the source.")
@click.option(
    "--dtype", type=click.Choice(("float32", "bfloat16", "float16")), default="float32", show_default=True,
    help="With --execute: what the graphs are made and executed in.",
)  # fmt: skip
@click.option("--dump", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="Write the GE graphs.")
@predict_options
@rules_option
@edited_option
@trust_option
@verbose_option
@as_json
def lower(
    directory: Path,
    soc: str,
    baseline: bool,
    by_rule: bool,
    execute: bool,
    dtype: str,
    dump: Path | None,
    predict: bool,
    folders: tuple[Path, ...],
    edited: bool,
    trust_remote_code: bool,
    verbose: bool,
    as_json: bool,
    **sizes: Any,
) -> int:
    """Lower the port NAME, or in DIR, through TorchAir: does it convert, and to how many kernels a layer.

    Works without an NPU and without CANN. At first use it installs a private torch_npu into porter's cache folder.

    \b
    Examples:
      porter lower generated_models/llama2
      porter lower generated_models/llama2 --baseline
      porter lower generated_models/llama2 --by-rule --json
      porter lower generated_models/llama2 --execute
      porter lower generated_models/llama2 --execute --dtype bfloat16
      porter lower generated_models/llama2 --predict --config llama-2-70b --tp 8 --batch 4
    """
    check_usage(predict, sizes, {"baseline": baseline, "execute": execute, "dump": dump})
    if dtype != "float32" and not execute:
        raise click.UsageError("--dtype is for --execute: give both")
    if by_rule and (baseline or dump or execute):
        raise click.UsageError("--by-rule makes a table of its own: leave out --baseline, --execute and --dump")
    if folders and not by_rule:
        raise click.UsageError("--rules is for --by-rule: what a port was made with is in it")
    refuse_idle(not by_rule, "with --by-rule, which makes the port anew and has one table", "edited", "verbose")
    from porter.verify.port import open_port, open_to_compare

    fault = other_release_installed()
    if fault is not None:
        return refuse(fault, as_json=as_json)
    # ports made anew by --by-rule: what was edited takes no part
    may_be: dict[str, Any] = {"edited": edited or by_rule, "trust_remote_code": trust_remote_code}
    opened = (open_to_compare if baseline or by_rule or execute else open_port)(directory, **may_be)
    if isinstance(opened, Refused):
        return refuse(opened, as_json=as_json)
    if predict:
        return predicted(directory, sizes, may_be, by_rule=by_rule, folders=folders, as_json=as_json)
    if by_rule:
        return _by_rule(directory, soc, folders, trust_remote_code, as_json)
    changed = say_if_edited(directory) if edited else ()
    return _lower(directory, soc, baseline, dtype if execute else None, dump, may_be, changed, verbose, as_json)


def _lower(
    directory: Path,
    soc: str,
    baseline: bool,
    dtype: str | None,
    dump: Path | None,
    may_be: dict[str, Any],
    changed: Sequence[str],
    verbose: bool,
    as_json: bool,
) -> int:
    from porter.lowering.lower import lower as lower_port
    from porter.report.execution import execution_data
    from porter.report.kernel import kernel_claim
    from porter.report.lowering import lowering_data, of_lowering

    with steps(f"lowering {directory}") as progress:
        found = lower_port(directory, soc=soc, baseline=baseline, text=dump is not None, progress=progress, **may_be)
    if isinstance(found, Refused):
        return refuse(found, as_json=as_json)
    if dump is not None:
        try:
            dump.write_text(found.text, encoding="utf-8")
        except OSError as error:
            message = f"cannot write `{dump}`: {error.strerror or error}"
            return refuse(Refused((Diagnostic("P074", message, help="give --dump another file"),)), as_json=as_json)
        say(f"wrote {dump}")
    executed = _executed(directory, soc, dtype, may_be) if dtype and found.converts else None
    if isinstance(executed, Refused):
        return refuse(executed, as_json=as_json)
    data = {**lowering_data(found), "edited": list(changed)}
    if executed is not None:
        data["execution"] = execution_data(executed)
    kernel = kernel_claim(directory, soc)
    data["kernel"] = kernel
    passed = found.converts and (executed is None or executed.agrees)
    return answer(
        passed, lambda: of_lowering(found, executed, kernel, verbose=verbose), lambda: data, as_json=as_json
    )


def _executed(directory: Path, soc: str, dtype: str, may_be: dict[str, Any]) -> Execution | Refused:
    import torch

    from porter.graph.execute import execute

    with steps(f"executing the graphs of {directory}") as progress:
        return execute(directory, soc=soc, dtype=getattr(torch, dtype), progress=progress, **may_be)


def _by_rule(directory: Path, soc: str, folders: tuple[Path, ...], trusted: bool, as_json: bool) -> int:
    from porter.lowering.contribution import contributions
    from porter.report.lowering import contributions_data, of_contributions

    book = rulebook(folders) if folders else recorded_rules(directory)
    if isinstance(book, Refused):
        return refuse(book, as_json=as_json)
    with steps(f"lowering {directory} by rule") as progress:
        found = contributions(directory, soc=soc, book=book, progress=progress, trust_remote_code=trusted)
    if isinstance(found, Refused):
        return refuse(found, as_json=as_json)
    data = {"folder": str(directory), "soc": soc, "kernels_run": False}
    return answer(
        True, lambda: of_contributions(found), lambda: {**data, "rules": contributions_data(found)}, as_json=as_json
    )

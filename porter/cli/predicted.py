"""The options of `porter lower --predict`, and what it does: times predicted for a chip, whole or by rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from porter.cli.completion import configs
from porter.cli.models import say_if_edited
from porter.cli.rulebook import recorded_rules, rulebook
from porter.cli.sizes import sizes_named
from porter.cli.talk import answer, refuse, steps
from porter.diagnostics import Refused

CHIP = "Ascend910B4"  # which the constants are fitted on
_SIZES = {
    "config": "A config.json, or a name such as llama-2-7b [the defaults of the configuration's class].",
    "chip": f"The chip whose published figures count [{CHIP}].",
    "tp": "Cards that share the model [1].",
    "batch": "Sequences a step [1].",
    "input": "Tokens of each prompt [1024].",
    "output": "Tokens of each answer [1024].",
}


def predict_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--predict`, and the options that go with it alone."""
    for name, help in reversed(_SIZES.items()):
        text = name in ("config", "chip")
        metavar = "JSON" if name == "config" else "NAME" if text else "N"
        kind: Any = str if text else int
        offered = configs if name == "config" else None
        option = click.option(
            f"--{name}", metavar=metavar, type=kind, help=f"--predict: {help}", shell_complete=offered
        )
        command = option(command)
    help = "How long both steps would take on a chip: an estimate, kernel by kernel; with --by-rule what each is worth."
    return click.option("--predict", is_flag=True, help=help)(command)


def check_usage(predict: bool, sizes: Mapping[str, Any], others: Mapping[str, Any]) -> None:
    """Raises UsageError for options that go with --predict alone, or do not go with it."""
    if not predict:
        given = next((name for name in _SIZES if sizes.get(name) is not None), None)
        if given is not None:
            raise click.UsageError(f"--{given} is for --predict")
        return
    given = next((name for name, value in others.items() if value), None)
    if given is not None:
        raise click.UsageError(f"--predict makes tables of its own: leave out --{given}")
    source = click.get_current_context().get_parameter_source("soc")
    if source is not click.core.ParameterSource.DEFAULT:
        raise click.UsageError("--predict takes --chip in place of --soc")


def predicted(
    directory: Path,
    sizes: Mapping[str, Any],
    may_be: dict[str, Any],
    *,
    by_rule: bool,
    folders: tuple[Path, ...],
    as_json: bool,
) -> int:
    from porter.predict.chips import chip_named
    from porter.predict.workload import Workload

    chip = chip_named(sizes["chip"] or CHIP)
    if isinstance(chip, Refused):
        return refuse(chip, as_json=as_json)
    counts = {name: sizes[name] for name in ("batch", "input", "output", "tp") if sizes[name] is not None}
    config = None if sizes["config"] is None else sizes_named(sizes["config"])
    if isinstance(config, Refused):
        return refuse(config, as_json=as_json)
    workload = Workload(**counts)
    if by_rule:
        return _by_rule(directory, workload, chip, config, may_be["trust_remote_code"], folders, as_json)
    return _whole(directory, workload, chip, config, may_be, as_json)


def _whole(
    directory: Path, workload: Any, chip: Any, config: Path | None, may_be: dict[str, Any], as_json: bool
) -> int:
    from porter.predict.predict import predict
    from porter.report.predict import of_prediction, prediction_data

    changed = say_if_edited(directory) if may_be["edited"] else ()
    with steps(f"predicting {directory}") as progress:
        found = predict(directory, workload, chip, config_json=config, progress=progress, **may_be)
    if isinstance(found, Refused):
        return refuse(found, as_json=as_json)
    data = {**prediction_data(found), "edited": list(changed)}
    return answer(True, lambda: of_prediction(found), lambda: data, as_json=as_json)


def _by_rule(
    directory: Path,
    workload: Any,
    chip: Any,
    config: Path | None,
    trusted: bool,
    folders: tuple[Path, ...],
    as_json: bool,
) -> int:
    from porter.predict.by_rule import by_rule
    from porter.report.predict import by_rule_data, of_by_rule

    book = rulebook(folders) if folders else recorded_rules(directory)
    if isinstance(book, Refused):
        return refuse(book, as_json=as_json)
    options: dict[str, Any] = {"config_json": config, "book": book, "trust_remote_code": trusted}
    with steps(f"predicting {directory} by rule") as progress:
        found = by_rule(directory, workload, chip, progress=progress, **options)
    if isinstance(found, Refused):
        return refuse(found, as_json=as_json)
    return answer(True, lambda: of_by_rule(found), lambda: by_rule_data(found), as_json=as_json)

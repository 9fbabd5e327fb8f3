"""`porter run`: text in, text out, with a ported model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from porter.cli.consent import trust_option
from porter.cli.idle import refuse_idle
from porter.cli.models import edited_option, other_release_installed, takes_port, unknown_model
from porter.cli.talk import Command, answer, as_json, put_piece, refuse, say, working
from porter.diagnostics import Diagnostic, Refused, refused

if TYPE_CHECKING:
    from porter.runner import Answers

_DTYPES = ("float16", "bfloat16", "float32")


@click.command(cls=Command)
@takes_port
@click.option("--model-path", metavar="P", required=True, type=click.Path(path_type=Path), help="Its checkpoint.")
@click.option("--adapter", metavar="DIR", type=click.Path(path_type=Path), help="A PEFT adapter, merged while loading.")
@click.option("--prompt", "prompts", multiple=True, help="May be repeated: one batch.")
@click.option("--prompts-file", metavar="F", type=click.Path(path_type=Path, dir_okay=False), help="A prompt a line.")
@click.option("--execute-mode", type=click.Choice(["eager", "dynamo"]), default="eager", show_default=True)
@click.option("--backend", metavar="B", help="What compiles in dynamo mode; by default the first that can.")
@click.option("--input-padding/--no-input-padding", default=None, help="Pad prompts to --input-max-len.")
@click.option(
    "--input-max-len", type=click.IntRange(min=1), default=1024, show_default=True, help="Tokens of a prompt."
)
@click.option("--max-new-tokens", type=click.IntRange(min=1), default=64, show_default=True)
@click.option("--dtype", type=click.Choice(_DTYPES), help="Of weights and cache; by default the checkpoint's.")
@click.option("--device", metavar="D", help="npu, cuda or cpu; by default the first there is.")
@click.option(
    "--cache-folder",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where TorchAir keeps compiled graphs for the next run, on an NPU.",
)
@click.option("--stream", is_flag=True, help="Print the text as it comes.")
@edited_option
@trust_option
@as_json
def run(
    directory: Path,
    model_path: Path,
    prompts: tuple[str, ...],
    prompts_file: Path | None,
    execute_mode: str,
    as_json: bool,
    **config: Any,
) -> int:
    """Run the ported model NAME, or the one in DIR, on an unchanged checkpoint.

    \b
    Examples:
      porter run llama2 --model-path ~/checkpoints/Llama-2-7b-hf --prompt "Once upon a time"
      porter run mine --models ~/project/generated_models --model-path ~/checkpoint --prompts-file prompts.txt
    """
    if bool(prompts) == (prompts_file is not None):
        raise click.UsageError("Give --prompt, once or more, or --prompts-file.")
    if as_json and config["stream"]:
        raise click.UsageError("--stream prints text, --json a document: give one of them.")
    refuse_idle(execute_mode == "dynamo", "in eager mode", "backend", "cache_folder")
    refuse_idle(_may_be_npu(config), "but on an NPU, by TorchAir", "cache_folder")
    listed = _read_prompts(prompts_file) if prompts_file is not None else list(prompts)
    if isinstance(listed, Refused):
        return refuse(listed, as_json=as_json)
    place = directory.resolve()
    name, config["models"] = place.name, place.parent
    unusable = _no_checkpoint(model_path) or other_release_installed() or unknown_model(name, place.parent)
    if unusable is not None:
        return refuse(unusable, as_json=as_json)
    outcome = _execute(name, model_path, listed, execute_mode, config)
    if isinstance(outcome, Refused):
        return refuse(outcome, as_json=as_json)
    if not as_json:
        say(outcome.times())
    if config["stream"]:  # the text is there already
        return 0
    return answer(
        True,
        lambda: "\n\n".join(f"{one.prompt}{one.text}" for one in outcome),
        lambda: _document(name, execute_mode, outcome),
        as_json=as_json,
    )


def _may_be_npu(config: dict[str, Any]) -> bool:
    """As far as the words say; what device there is, and what its default backend, only torch knows."""
    return (config["device"] or "npu").startswith("npu")


def _execute(name: str, folder: Path, prompts: list[str], mode: str, config: dict[str, Any]) -> Answers | Refused:
    with _quiet() if config["stream"] else working(f"running {name}"):
        import torch

        from porter.runner import CannotRun, LlmModelRunner
        from porter.runner.stream import Printer

        class Runner(LlmModelRunner):
            def show(self, prompts: list[str]) -> Any:
                return Printer(prompts, put_piece)

        given = {key: value for key, value in config.items() if value is not None}
        if "dtype" in given:
            given["dtype"] = getattr(torch, given["dtype"])
        try:
            idle = _keeps_nothing(given) if "cache_folder" in given else None
            if idle is not None:
                return idle
            runner = Runner(name, folder, **given)
            runner.execute_mode = mode
            return runner.execute_model(prompts)
        except CannotRun as error:
            return Refused((error.diagnostic,))


def _keeps_nothing(given: dict[str, Any]) -> Refused | None:
    """P086 for a folder of compiled graphs on a device that keeps none."""
    from porter.runner.devices import choose_device

    device = choose_device(given.get("device"))
    if device.type == "npu":
        return None
    message = f"device `{device}` keeps no compiled graphs: TorchAir does, on an NPU"
    return refused("P086", message, "leave out --cache-folder")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    yield


def _document(name: str, mode: str, answers: Answers) -> dict[str, Any]:
    rows = [{"prompt": one.prompt, "text": one.text, "token_ids": list(one.token_ids)} for one in answers]
    return {
        "name": name,
        "execute_mode": mode,
        "answers": rows,
        "prefill_ms": answers.prefill_ms,
        "ms_per_token": answers.ms_per_token,
        "tokens_per_second": answers.tokens_per_second,
    }


def _read_prompts(file: Path) -> list[str] | Refused:
    """The lines of a text file that are not blank."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        return Refused(
            (Diagnostic("P085", f"`{file}` cannot be read: {error}", help="give a text file, a prompt a line"),)
        )
    prompts = [line for line in lines if line.strip()]
    return prompts or Refused((Diagnostic("P085", f"`{file}` has no prompts", help="write one on each line"),))


def _no_checkpoint(model_path: Path) -> Refused | None:
    if model_path.is_dir():
        return None
    help = "give the folder of a checkpoint, as downloaded"
    return Refused((Diagnostic("P081", f"no checkpoint folder `{model_path}`", help=help),))

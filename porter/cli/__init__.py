"""The `porter` command. Results go to stdout, talk to stderr; exit 0 done, 1 refused or failed, 2 usage.

Commands import what they need when they run: `porter --help` and a wrong option are instant, and converting never loads
torch or transformers.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import click

from porter import __version__
from porter.cli.bench import bench
from porter.cli.convert import convert
from porter.cli.inspect import inspect, rules
from porter.cli.lower import lower
from porter.cli.prove import prove, verify
from porter.cli.run import run
from porter.cli.survey import survey
from porter.release import OtherRelease

INTERRUPTED, BUG, PIPE_CLOSED = 130, 70, 141


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="porter")
def commands() -> None:
    """Turn a Hugging Face modeling file into an Ascend NPU model file, and prove it here.

    \b
    Start with:
      porter inspect transformers.models.llama
      porter convert transformers.models.llama --out generated_models/llama2
      porter verify generated_models/llama2
    """


for command in (convert, inspect, rules, prove, verify, lower, run, bench, survey):
    commands.add_command(command)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and leave with its exit code."""
    sys.exit(exit_code(arguments))


def exit_code(arguments: Sequence[str] | None = None) -> int:
    try:
        result = commands.main(arguments, prog_name="porter", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("\ninterrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:  # the reader has seen enough: say nothing, not even when Python closes stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except OtherRelease as error:
        click.echo(f"error[P134]: {error}", err=True)
        return 1
    except Exception:
        traceback.print_exc()
        click.echo("\nThis is a bug in porter, not in your input.", err=True)
        return BUG

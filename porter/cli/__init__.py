"""The `porter` command. Results go to stdout, talk to stderr; exit 0 done, 1 refused or failed, 2 usage.

Commands import what they need when they run: `porter --help` and a wrong option are instant, and converting never loads
torch or transformers.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import click

from porter import __version__
from porter.cli.bench import bench
from porter.cli.convert import convert
from porter.cli.doctor import doctor
from porter.cli.explain import explain
from porter.cli.export import export
from porter.cli.inspect import inspect, rules
from porter.cli.lower import lower
from porter.cli.matrix import matrix
from porter.cli.new_rule import new_rule
from porter.cli.prove import prove, verify
from porter.cli.review import review
from porter.cli.rule import rule
from porter.cli.run import run
from porter.cli.talk import FAILED, ReaderGone, ResultLost, refuse, say, to_stdout, was_interrupted
from porter.cli.why import why
from porter.diagnostics import Diagnostic, Refused
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


_PORTING = (convert, inspect, rules, rule, why, new_rule, prove, explain)
_PORTS = (review, verify, lower, run, bench, export, matrix, doctor)

for command in (*_PORTING, *_PORTS):
    commands.add_command(command)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and leave with its exit code."""
    sys.exit(exit_code(arguments))


def exit_code(arguments: Sequence[str] | None = None) -> int:
    if sys.stdout is None:  # and what opens a file next would be given its place
        say("error[P144]: stdout is closed: the result has nowhere to go\n  = help: send it to /dev/null, or to a file")
        return FAILED
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what an ASCII terminal cannot show is escaped, not an error
            stream.reconfigure(errors="backslashreplace")
    try:
        return _outcome(arguments)
    except click.ClickException as error:
        with contextlib.suppress(OSError):
            error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        say("\ninterrupted")
        return INTERRUPTED
    except (ReaderGone, BrokenPipeError):  # say nothing, not even when Python closes stdout
        _let_go_of_stdout()
        return PIPE_CLOSED
    except OtherRelease as error:
        return refuse(Refused((Diagnostic("P134", str(error)),)), as_json=False)
    except ResultLost as error:
        return _lost(str(error))
    except Exception as error:
        if was_interrupted(error):
            say("\ninterrupted")
            return INTERRUPTED
        if isinstance(error, OSError) and error.errno is not None:
            as_json = "--json" in (sys.argv[1:] if arguments is None else arguments)
            return _refused_by_the_system(error, as_json)
        traceback.print_exc()
        say("\nThis is a bug in porter, not in your input.")
        return BUG


def _outcome(arguments: Sequence[str] | None) -> int:
    try:
        os.getcwd()
    except FileNotFoundError:  # libraries end the process over it, without a word of porter's
        raise FileNotFoundError(errno.ENOENT, "the current folder was deleted") from None
    result = commands.main(arguments, prog_name="porter", standalone_mode=False)
    with to_stdout():
        sys.stdout.flush()
    return result if isinstance(result, int) else 0


def _lost(reason: str) -> int:
    _let_go_of_stdout()
    message = f"the result cannot be written to stdout: {reason}"
    return refuse(Refused((Diagnostic("P144", message, help="send it where there is room"),)), as_json=False)


def _let_go_of_stdout() -> None:
    with contextlib.suppress(OSError, ValueError):  # a stdout that is no file of the system
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _refused_by_the_system(error: OSError, as_json: bool) -> int:
    """What the system refused, and of which file: where no command knows more of it."""
    try:
        sys.stdout.flush()
    except OSError as full:  # it was stdout
        return _lost(full.strerror or str(full))
    name = error.filename2 or error.filename
    where = f": `{os.fsdecode(name)}`" if isinstance(name, (str, bytes, os.PathLike)) else ""
    message = f"the system says: {error.strerror}{where}"
    help = "see that it is there, may be read or written, and has room"
    return refuse(Refused((Diagnostic("P145", message, help=help),)), as_json=as_json)

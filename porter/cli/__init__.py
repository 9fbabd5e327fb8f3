"""The `porter` command. Results go to stdout, talk to stderr; its help says what the exit codes mean.

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
from porter.cli.accept import accept
from porter.cli.bench import bench
from porter.cli.check import check
from porter.cli.convert import convert
from porter.cli.doctor import doctor
from porter.cli.documents import refusal_document, wants_document
from porter.cli.explain import explain
from porter.cli.export import export
from porter.cli.help import CLOSING, Grouped
from porter.cli.inspect import inspect, rules
from porter.cli.lower import lower
from porter.cli.matrix import matrix
from porter.cli.new_rule import new_rule
from porter.cli.prove import prove, verify
from porter.cli.review import review
from porter.cli.rule import rule
from porter.cli.run import run
from porter.cli.schema import schema
from porter.cli.talk import FAILED, ReaderGone, ResultLost, print_json, refuse, say, to_stdout, was_interrupted
from porter.cli.why import why
from porter.diagnostics import Diagnostic, Refused
from porter.release import OtherRelease

INTERRUPTED, BUG, PIPE_CLOSED = 130, 70, 141


@click.group(
    cls=Grouped,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=CLOSING,
)
@click.version_option(__version__, prog_name="porter")
def commands() -> None:
    """Turn a Hugging Face modeling file into an Ascend NPU model file, and prove it here.

    \b
    Start with:
      porter inspect transformers.models.llama
      porter convert transformers.models.llama --out generated_models/llama2
      porter verify generated_models/llama2
    """


_PORTING = (inspect, why, convert, check)
_RULES = (rules, rule, new_rule, prove)
_PORTS = (review, verify, accept, lower, run, bench, export)
_ABOUT = (explain, doctor, matrix, schema)
commands.add_sections({"Porting": _PORTING, "Rules": _RULES, "With a port": _PORTS, "About": _ABOUT})


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
    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json, command = wants_document(commands, words)
    try:
        return _outcome(words)
    except click.ClickException as error:
        if as_json:
            _document(Diagnostic("P147", error.format_message(), help=_help_of(command)), command)
        else:
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
        return _refused(Diagnostic("P134", str(error)), as_json, command)
    except ResultLost as error:
        return _lost(str(error))
    except Exception as error:
        if was_interrupted(error):
            say("\ninterrupted")
            return INTERRUPTED
        if isinstance(error, OSError) and error.errno is not None:
            return _refused_by_the_system(error, as_json, command)
        traceback.print_exc()
        say("\nThis is a bug in porter, not in your input.")
        if as_json:
            said = "".join(traceback.format_exception_only(error)).strip()
            _document(Diagnostic("P148", said, help="report this bug of porter, with the traceback"), command)
        return BUG


def _document(diagnostic: Diagnostic, command: str | None) -> None:
    with contextlib.suppress(ReaderGone, ResultLost):
        print_json(refusal_document((diagnostic,), command))


def _refused(diagnostic: Diagnostic, as_json: bool, command: str | None) -> int:
    if not as_json:
        return refuse(Refused((diagnostic,)), as_json=False)
    _document(diagnostic, command)
    return FAILED


def _help_of(command: str | None) -> str:
    return f"see `porter {command} --help`" if command else "see `porter --help`"


def _outcome(arguments: Sequence[str]) -> int:
    try:
        os.getcwd()
    except FileNotFoundError:  # libraries end the process over it, without a word of porter's
        raise FileNotFoundError(errno.ENOENT, "the current folder was deleted") from None
    result = commands.main(list(arguments), prog_name="porter", standalone_mode=False)
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


def _refused_by_the_system(error: OSError, as_json: bool, command: str | None) -> int:
    """What the system refused, and of which file: where no command knows more of it."""
    try:
        sys.stdout.flush()
    except OSError as full:  # it was stdout
        return _lost(full.strerror or str(full))
    name = error.filename2 or error.filename
    where = f": `{os.fsdecode(name)}`" if isinstance(name, (str, bytes, os.PathLike)) else ""
    message = f"the system says: {error.strerror}{where}"
    help = "see that it is there, may be read or written, and has room"
    return _refused(Diagnostic("P145", message, help=help), as_json, command)

"""How commands speak: a result on stdout, as text or as one JSON document; everything else on stderr.

Colour, wrapping and progress bars appear on a terminal only; `NO_COLOR` turns colour off. In a pipe a row is a line.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click

from porter.cli.documents import refusal_document, result_document
from porter.cli.idle import refuse_idle
from porter.cli.screen import columns, in_colour, is_terminal, rendered
from porter.diagnostics import Refused
from porter.report.blocks import Report, plain
from porter.report.findings import Finding, of_refusal

if TYPE_CHECKING:
    from porter.source import Source

DONE, FAILED = 0, 1

Item = TypeVar("Item")

as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON document.")
_FORM = "porter.form"  # where a command's context has it


def _keep_form(context: click.Context, parameter: click.Parameter, form: str | None) -> str | None:
    context.meta[_FORM] = form
    return form


format_option = click.option(
    "--format",
    "form",
    type=click.Choice(["github", "sarif"]),
    callback=_keep_form,
    help="Print what is wrong or left as annotations of a GitHub workflow, or as a SARIF 2.1.0 log.",
)
verbose_option = click.option("-v", "--verbose", is_flag=True, help="Print every row, not the sums alone.")


class ResultLost(Exception):
    """What a command was asked for could not be written to stdout."""


class ReaderGone(Exception):
    """Whoever reads stdout has seen enough."""


class Command(click.Command):
    """A command whose result is alone on stdout: what libraries print while it runs is talk."""

    def invoke(self, ctx: click.Context) -> Any:
        refuse_idle(not ctx.params.get("as_json"), "with --json, which holds everything", "verbose", "form")
        refuse_idle(
            not ctx.params.get("form"), "with --format, which tells what is open or wrong alone", "verbose", "why"
        )
        with results_apart():
            return super().invoke(ctx)


_results: list[TextIO] = []  # where results go while `sys.stdout` is for talk


@contextlib.contextmanager
def results_apart() -> Iterator[None]:
    """Until the end, whoever writes to `sys.stdout` talks, and `result_stream` is where results go."""
    _results.append(sys.stdout)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        _results.pop()


def result_stream() -> TextIO:
    """What a result is written to."""
    return _results[-1] if _results else sys.stdout


def was_interrupted(error: BaseException) -> bool:
    """Whether it came of an interrupt: LibCST's printer raises an error of its own in the place of one."""
    here: BaseException | None = error
    while here is not None:
        if isinstance(here, KeyboardInterrupt):
            return True
        here = here.__cause__ or here.__context__
    return False


def on_terminal() -> bool:
    """Whether somebody reads the talk as it comes."""
    return is_terminal(sys.stderr)


def say(text: str) -> None:
    """Talk: for the person at the terminal, never part of the result. Nobody has to listen."""
    with contextlib.suppress(OSError):
        click.echo(text, err=True)


def put(text: str) -> None:
    """The result, or a part of it, to stdout."""
    with to_stdout():
        click.echo(text, file=result_stream())


def put_piece(text: str) -> None:
    """A part of a line of the result, as it comes."""
    with to_stdout():
        click.echo(text, file=result_stream(), nl=False)


@contextlib.contextmanager
def to_stdout() -> Iterator[None]:
    """Raises ReaderGone where stdout is a closed pipe, ResultLost where it cannot be written, say on a full disk."""
    try:
        yield
    except BrokenPipeError as error:
        raise ReaderGone from error
    except OSError as error:
        raise ResultLost(error.strerror or str(error)) from error


def answer(ok: bool, text: Callable[[], str | Report], data: Callable[[], dict[str, Any]], *, as_json: bool) -> int:
    """Print the result, in one form or the other, and give the exit code."""
    if as_json:
        print_json(result_document(ok, data()))
    else:
        put_report(text())
    return DONE if ok else FAILED


def put_report(report: str | Report) -> None:
    """The result as a report: for a terminal wrapped and in colour. Text alone stands as it is."""
    if isinstance(report, str):
        put(report)
    elif not is_terminal(result_stream()):
        put(plain(report))
    else:
        from porter.report.painted import painted

        put(painted(report, columns(result_stream()), colour=in_colour()))


def refuse(refused: Refused, *, as_json: bool, source: Source | None = None) -> int:
    """Say why nothing was done, and give the exit code."""
    if as_json:
        print_json(refusal_document(refused.diagnostics))
        return FAILED
    put_findings(lambda: list(of_refusal(refused.diagnostics, source)))
    for diagnostic in refused.diagnostics:
        say(rendered(diagnostic, source, sys.stderr if on_terminal() else None))
    return FAILED


def put_findings(findings: Callable[[], Sequence[Finding]]) -> bool:
    """Print findings in the form that `--format` asks for; whether it does."""
    context = click.get_current_context(silent=True)
    form = context.meta.get(_FORM) if context is not None else None
    if form == "sarif":
        from porter.report.sarif import sarif_log

        print_json(sarif_log(findings()))
    elif form == "github":
        from porter.report.github import workflow_commands

        lines = workflow_commands(findings())
        if lines:
            put(lines)
    return form is not None


def print_json(document: dict[str, Any]) -> None:
    document = _finite(document)
    text = json.dumps(document, indent=2, ensure_ascii=False)
    try:
        text.encode(getattr(result_stream(), "encoding", None) or "utf-8")
    except UnicodeEncodeError:  # an ASCII terminal, or a file name that is no UTF-8
        text = json.dumps(document, indent=2)
    put(text)


def _finite(value: Any) -> Any:
    """Data with null for what is no number or without end, which JSON cannot say."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def progress(items: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
    """The items, with a bar on stderr while they come; off a terminal one line that says what begins."""
    if not on_terminal():
        say(f"{what} ...")
        yield from items
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(items, what, total=total, console=Console(stderr=True), transient=True)


@contextlib.contextmanager
def steps(what: str, *, forks: bool = False) -> Iterator[Callable[[str, int, int], None]]:
    """Gives what long work calls with (step, done, of how many): a bar on stderr, or a line a step off a terminal.

    forks: the work makes processes of this one, which may have no threads then: the bar moves when it is called only.
    """
    if not on_terminal():
        yield lambda step, done, total: say(f"{what}: {step}, {done + 1} of {total}") if step else None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, auto_refresh=not forks) as bar:
        task = bar.add_task(what)
        yield lambda step, done, total: bar.update(
            task, description=f"{what}: {step}" if step else what, completed=done, total=total, refresh=forks
        )


@contextlib.contextmanager
def working(what: str) -> Iterator[None]:
    """Something that takes a while and cannot say how far it is."""
    if not on_terminal():
        say(f"{what} ...")
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield

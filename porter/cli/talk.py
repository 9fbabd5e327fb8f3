"""How commands speak: a result on stdout, as text or as one JSON document; everything else on stderr.

Colour and progress appear on a terminal only; `NO_COLOR` turns colour off.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click

from porter.diagnostics import Diagnostic, Refused
from porter.report.diagnostic import render, to_json
from porter.shipped import shipped

if TYPE_CHECKING:
    from porter.source import Source

DONE, FAILED = 0, 1

Item = TypeVar("Item")

as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON document.")


class ResultLost(Exception):
    """What a command was asked for could not be written to stdout."""


class ReaderGone(Exception):
    """Whoever reads stdout has seen enough."""


class Command(click.Command):
    """A command whose result is alone on stdout: what libraries print while it runs is talk."""

    def invoke(self, ctx: click.Context) -> Any:
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
    return sys.stderr is not None and sys.stderr.isatty()


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


def answer(ok: bool, text: Callable[[], str], data: Callable[[], dict[str, Any]], *, as_json: bool) -> int:
    """Print the result, in one form or the other, and give the exit code."""
    if as_json:
        print_json({"ok": ok, **data(), "diagnostics": []})
    else:
        put(text())
    return DONE if ok else FAILED


def refuse(refused: Refused, *, as_json: bool, source: Source | None = None) -> int:
    """Say why nothing was done, and give the exit code."""
    if as_json:
        print_json({"ok": False, "diagnostics": [to_json(diagnostic) for diagnostic in refused.diagnostics]})
        return FAILED
    for diagnostic in refused.diagnostics:
        text = render(diagnostic, text_of(diagnostic, source))
        say(_coloured(text, diagnostic) if on_terminal() and not os.environ.get("NO_COLOR") else text)
    return FAILED


def print_json(document: dict[str, Any]) -> None:
    text = json.dumps(document, indent=2, ensure_ascii=False)
    try:
        text.encode(getattr(result_stream(), "encoding", None) or "utf-8")
    except UnicodeEncodeError:  # an ASCII terminal, or a file name that is no UTF-8
        text = json.dumps(document, indent=2)
    put(text)


def text_of(diagnostic: Diagnostic, source: Source | None) -> str | None:
    """The text a span speaks of: spans name sources and rules by their short paths."""
    if diagnostic.span is None:
        return None
    path = diagnostic.span.path
    if source is not None and path in (source.display, str(source.path)):
        return source.text
    for place in (Path(path), shipped("rules").parent / path, shipped("rules") / Path(path).name):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return place.read_text(encoding="utf-8")
    return None


def _coloured(text: str, diagnostic: Diagnostic) -> str:
    colour = "red" if diagnostic.severity == "error" else "yellow"
    head, *rest = text.split("\n")
    code, colon, message = head.partition(": ")
    lines = [click.style(code, fg=colour, bold=True) + click.style(colon + message, bold=True)]
    for line in rest:
        gutter, bar, marked = line.partition(" | ")
        if bar and not gutter.strip() and marked.strip():
            line = click.style(gutter + bar, fg="blue") + click.style(marked, fg=colour)
        elif (bar and gutter.isdigit()) or line.endswith(" |"):
            line = click.style(gutter + bar, fg="blue") + marked
        lines.append(line)
    return "\n".join(lines)


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
            task, description=f"{what}: {step}", completed=done, total=total, refresh=forks
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

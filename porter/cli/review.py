"""`porter review`: a port for its reviewer, in the terminal or as one page. Nothing of it is run."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from porter.cli.models import takes_port
from porter.cli.rulebook import given, recorded_rules, rules_option
from porter.cli.screen import in_colour, is_terminal
from porter.cli.talk import Command, answer, as_json, refuse, result_stream, say
from porter.diagnostics import Refused, refused
from porter.shipped import recorded_matrix, shipped

if TYPE_CHECKING:
    from porter.report.review.opened import Opened
    from porter.report.review.recorded import Document
    from porter.report.review.values import Review
    from porter.rulebook import LoadedRule


@click.command(cls=Command)
@takes_port
@click.option("--html", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="Write it as one page.")
@click.option(
    "--record",
    "records",
    metavar="FILE",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="What verify, lower, prove or matrix found, as JSON, beside a checkout's matrix; may be repeated.",
)
@rules_option
@as_json
def review(
    directory: Path, html: Path | None, records: tuple[Path, ...], folders: tuple[Path, ...], as_json: bool
) -> int:
    """Review the port NAME, or in DIR: what each rule changed, where, why, to what accuracy, and what is proved of it.

    It needs neither the source nor torch: the diff of the port holds both texts. Figures are those that were recorded.

    \b
    Examples:
      porter review generated_models/llama2
      porter review llama2 --html llama2.html
      porter lower llama2 --baseline --json > lowered.json
      porter review llama2 --record lowered.json --html llama2.html
    """
    if html is not None and as_json:
        raise click.UsageError("--html writes a page, --json prints data: give one of them")
    found = _reviewed(directory, records, folders)
    if isinstance(found, Refused):
        return refuse(found, as_json=as_json)
    if html is not None:
        return _write(found, directory, html)
    from porter.report.review.data import review_data
    from porter.report.review.terminal import of_review

    coloured = is_terminal(result_stream()) and in_colour()
    width = shutil.get_terminal_size((100, 24)).columns
    text = lambda: of_review(found, width=width, coloured=coloured)  # noqa: E731
    return answer(True, text, lambda: review_data(found), as_json=as_json)


def _reviewed(directory: Path, records: tuple[Path, ...], folders: tuple[Path, ...]) -> Review | Refused:
    from porter.report.review.build import review_of
    from porter.report.review.opened import open_for_review

    opened = open_for_review(_short(directory))
    if isinstance(opened, Refused):
        return opened
    book, documents = _rules(directory, folders), _documents(opened, records)
    if isinstance(book, Refused):
        return book
    if isinstance(documents, Refused):
        return documents
    try:
        return review_of(opened, book, documents)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        files = ", ".join(f"`{document.file}`" for document in documents) or "no record"
        why = f"{type(error).__name__}: {error}"
        return refused("P173", f"{files} cannot be read as records", "make them again, or leave out --record", why)


def _short(path: Path) -> Path:
    """As seen from the current folder, where it lies below that."""
    here, there = os.path.realpath("."), os.path.realpath(path)
    return Path(os.path.relpath(there, here)) if Path(there).is_relative_to(here) else path


def _rules(directory: Path, folders: tuple[Path, ...]) -> tuple[LoadedRule, ...] | Refused:
    """The rules that the port was made with; where their folders are gone, porter's own."""
    from porter.rulebook import load_rules

    if folders:
        return load_rules(shipped("rules"), beside=given(folders))
    book = recorded_rules(directory)
    if not isinstance(book, Refused):
        return book
    say(f"note: {book.diagnostics[0].message}; what its rules say of themselves is left out")
    return load_rules(shipped("rules"))


def _documents(opened: Opened, records: tuple[Path, ...]) -> list[Document] | Refused:
    """The rows that a checkout has, then what was handed in, which counts before them."""
    from porter.report.review.build import subject_of
    from porter.report.review.recorded import Document, fault_of

    there, found = recorded_matrix(), list[Document]()
    for path in (*([there] if there else []), *records):
        try:
            data = json.loads(path.read_bytes())
            fault = fault_of(data, subject_of(opened))
        except (OSError, ValueError, RecursionError) as error:
            fault = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if fault is not None:
            help = "give --record what `porter verify`, `lower` or `prove` print with --json, or a matrix's file"
            return refused("P173", f"`{path}` is no record of this port", help, fault)
        found.append(Document("tests/ports/matrix.json" if path is there else str(path), data))
    return found


def _write(found: Review, directory: Path, html: Path) -> int:
    from porter.emit.swap import replace_file
    from porter.report.review.page import of_page

    if Path(os.path.realpath(html)).is_relative_to(os.path.realpath(directory)):
        message = f"`{html}` would lie in the port, which holds what porter wrote of it and nothing else"
        return refuse(refused("P174", message, "give --html a file elsewhere"), as_json=False)
    text = of_page(found)
    try:
        replace_file(html, text.encode("utf-8"))
    except OSError as error:
        message = f"cannot write `{html}`: {error.strerror or error}"
        return refuse(refused("P074", message, "give --html another file"), as_json=False)
    return answer(True, lambda: f"wrote {html}", dict, as_json=False)

"""The help of `porter` itself: commands by what they are about, and the exit codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

CLOSING = """
\b
Exit codes:
  0    done; every check passed
  1    refused, failed, or something differs: stderr, or the report, says why
  2    the command line: an option that is wrong, missing, or would do nothing
  70   a bug in porter: its traceback is on stderr
  130  interrupted
  141  the reader of stdout has gone, as in `porter rules | head -1`

\b
With --json the result, or the error, is one document on stdout:
`porter schema` says its form. Completion in bash, and alike in zsh and fish:
  eval "$(_PORTER_COMPLETE=bash_source porter)"
"""


class Grouped(click.Group):
    """Commands under headings, each with the first sentence of its help as a whole."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.sections: dict[str, Sequence[click.Command]] = {}

    def add_sections(self, sections: Mapping[str, Sequence[click.Command]]) -> None:
        for title, listed in sections.items():
            self.sections[title] = listed
            for command in listed:
                self.add_command(command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, listed in self.sections.items():
            with formatter.section(title):
                formatter.write_dl([(command.name or "", _first_sentence(command)) for command in listed])


def _first_sentence(command: click.Command) -> str:
    paragraph = (command.help or "").split("\n\n")[0]
    return " ".join(paragraph.split()).partition(". ")[0].rstrip(".")

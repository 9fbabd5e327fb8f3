"""Options that would do nothing beside the others of a command line: refused, rather than taken and forgotten.

What only permits something (`--force`, `--edited`, `--trust-remote-code`, `--unproved`) is none of them: it may be
given where nothing needs it.
"""

from __future__ import annotations

import click
from click.core import ParameterSource


def refuse_idle(is_used: bool, reason: str, *names: str) -> None:
    """Raises UsageError for the first of the parameters that was given, where they are not used."""
    if is_used:
        return
    context = click.get_current_context()
    for parameter in context.command.params:
        if parameter.name in names and _was_given(context, parameter):
            raise click.UsageError(f"{parameter.opts[-1]} does nothing {reason}: leave it out")


def _was_given(context: click.Context, parameter: click.Parameter) -> bool:
    return context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE

"""The documents of `--json`: each names its form and the form's version, as in `porter.verify/1`.

Contract: a form gains fields without notice; where a field changes its meaning or goes, the version is another. The
forms are JSON schemas in `porter/schemas`, which `porter schema` prints.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import click

from porter.diagnostics import Diagnostic
from porter.report.diagnostic import to_json

VERSION = 1


def form_of(command: str | None) -> str:
    """The name of a command's form; of what fails before it is known which command was meant, `porter/1`."""
    return f"porter.{command}/{VERSION}" if command else f"porter/{VERSION}"


def command_now() -> str | None:
    """The command that is at work, or whose words are being read."""
    context = click.get_current_context(silent=True)
    return context.info_name if context is not None and context.parent is not None else None


def result_document(ok: bool, data: dict[str, Any]) -> dict[str, Any]:
    return {"schema": form_of(command_now()), "ok": ok, **data, "diagnostics": []}


def refusal_document(diagnostics: Iterable[Diagnostic], command: str | None = None) -> dict[str, Any]:
    listed = [to_json(diagnostic) for diagnostic in diagnostics]
    return {"schema": form_of(command or command_now()), "ok": False, "diagnostics": listed}


def wants_document(group: click.Group, arguments: Sequence[str]) -> tuple[bool, str | None]:
    """Of a command line that failed: whether it asked for a document, and the command, if it names one."""
    name = next((word for word in arguments if word in group.commands), None)
    flags = {word for parameter in group.commands[name].params for word in _flags(parameter)} if name else {"--json"}
    return "--json" in arguments and "--json" in flags, name


def _flags(parameter: click.Parameter) -> Sequence[str]:
    return parameter.opts if isinstance(parameter, click.Option) and parameter.is_flag else ()

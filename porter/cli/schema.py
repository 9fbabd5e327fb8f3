"""`porter schema`: the JSON schemas of what commands print with `--json`."""

from __future__ import annotations

import click

from porter.cli.completion import commands
from porter.cli.talk import Command, print_json, refuse
from porter.diagnostics import nearest, refused
from porter.report.schema import schema_of, schemas


@click.command(cls=Command)
@click.argument("command", required=False, shell_complete=commands)
def schema(command: str | None) -> int:
    """Print the JSON schema of the document that COMMAND prints with --json; without COMMAND, of any of them.

    \b
    Examples:
      porter schema verify
      porter schema > porter.schema.json
    """
    known = schemas()
    if command is not None and command not in known:
        close = " or ".join(f"`{other}`" for other in nearest(command, known))
        help = f"did you mean {close}?" if close else f"there are {', '.join(known)}"
        return refuse(refused("P039", f"no document of `{command}`", help), as_json=False)
    print_json(schema_of(command))
    return 0

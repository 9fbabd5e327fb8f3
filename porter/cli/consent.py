"""Consent to run code out of a folder: one option, the same in every command that runs a port or its source."""

from __future__ import annotations

import click

consent_option = click.option(
    "--trust-remote-code",
    is_flag=True,
    help="Record in port.json that the port of code out of a folder may be run. Nothing of it is run here.",
)
trust_option = click.option(
    "--trust-remote-code",
    is_flag=True,
    help="Run code that came out of a file or a checkpoint's folder and not from an installed package: the port's "
    "own and, where the two are compared, its source's. Without it such a port is refused, with what would run.",
)

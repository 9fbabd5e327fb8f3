"""`porter doctor`: what stands here, what of it porter was tested with, and what to do."""

from __future__ import annotations

import click

from porter.cli.talk import Command, answer, as_json


@click.command(cls=Command)
@as_json
def doctor(as_json: bool) -> int:
    """Say which versions are installed, what of them was tested, and what to do. Imports neither torch nor torch_npu.

    \b
    Exit code 1: porter does not work with something that is here, or lacks something.
    """
    from porter.release.doctor import WRONG, examine
    from porter.release.stack import installed_stack
    from porter.release.tested import tested_stacks
    from porter.report.stack import of_stack, stack_data

    tested = tested_stacks()
    parts = examine(installed_stack(), tested)
    good = all(part.state != WRONG for part in parts)
    return answer(good, lambda: of_stack(parts, tested), lambda: stack_data(parts, tested), as_json=as_json)

"""`porter inspect` and `porter rules`: what porter sees and what it knows. Nothing is written."""

from __future__ import annotations

from pathlib import Path

import click

from porter.cli.completion import sources
from porter.cli.idle import refuse_idle
from porter.cli.rulebook import rulebook, rules_option
from porter.cli.screen import is_terminal, rendered
from porter.cli.talk import (
    DONE,
    Command,
    answer,
    as_json,
    format_option,
    put,
    put_findings,
    refuse,
    result_stream,
)
from porter.diagnostics import Refused


@click.command(cls=Command)
@click.argument("source", shell_complete=sources)
@click.option("--why", is_flag=True, help="Show for each site left alone where the closest rule and the source part.")
@rules_option
@click.option("-v", "--verbose", is_flag=True, help="Print which class has which part in the model, too.")
@format_option
@as_json
def inspect(source: str, why: bool, folders: tuple[Path, ...], verbose: bool, form: str | None, as_json: bool) -> int:
    """Show every site of SOURCE, the rule that takes it, or why none does. Writes nothing, runs nothing of SOURCE.

    \b
    Examples:
      porter inspect transformers.models.llama
      porter inspect transformers.models.nemotron --why
      porter inspect transformers.models.vaultgemma --rules ./rules
    """
    refuse_idle(not as_json, "with --json, which has the reasons", "why")
    from porter.convert import inspect as inspect_source
    from porter.report.findings import of_open_sites
    from porter.report.known import inspection_data, of_inspection
    from porter.source import load_source

    loaded = load_source(source)
    if isinstance(loaded, Refused):
        return refuse(loaded, as_json=as_json)
    book = rulebook(folders)
    if isinstance(book, Refused):
        return refuse(book, as_json=as_json)
    seen = inspect_source(loaded, rules=book)
    if isinstance(seen, Refused):
        return refuse(seen, as_json=as_json, source=loaded)
    if put_findings(lambda: list(of_open_sites(seen))):
        return DONE
    code = answer(True, lambda: of_inspection(seen, verbose=verbose), lambda: inspection_data(seen), as_json=as_json)
    if why:
        from porter.plan import explain

        left = {site.name for site in seen.sites if site.is_left}
        terminal = result_stream() if is_terminal(result_stream()) else None
        for site in seen.plan.anatomy.sites:
            if site.name in left:
                put("\n" + rendered(explain(seen.plan, site), loaded, terminal))
    return code


@click.command(cls=Command)
@rules_option
@as_json
def rules(folders: tuple[Path, ...], as_json: bool) -> int:
    """List the rules there are: where each applies and what it does.

    \b
    Examples:
      porter rules
      porter rules --rules ./rules --json
    """
    from porter.report.known import of_rules, rules_data

    loaded = rulebook(folders)
    if isinstance(loaded, Refused):
        return refuse(loaded, as_json=as_json)
    return answer(True, lambda: of_rules(loaded), lambda: {"rules": rules_data(loaded)}, as_json=as_json)

"""`porter inspect` and `porter rules`: what porter sees and what it knows. Nothing is written."""

from __future__ import annotations

import click

from porter.cli.talk import Command, answer, as_json, put, refuse, text_of
from porter.diagnostics import Refused
from porter.report.diagnostic import render


@click.command(cls=Command)
@click.argument("source")
@click.option("--why", is_flag=True, help="Show for each site left alone where the closest rule and the source part.")
@as_json
def inspect(source: str, why: bool, as_json: bool) -> int:
    """Show every site of SOURCE, the rule that takes it, or why none does. Writes nothing, runs nothing of SOURCE.

    \b
    Examples:
      porter inspect transformers.models.llama
      porter inspect transformers.models.nemotron --why
    """
    from porter.convert import inspect as inspect_source
    from porter.report.known import inspection_data, of_inspection
    from porter.source import load_source

    loaded = load_source(source)
    if isinstance(loaded, Refused):
        return refuse(loaded, as_json=as_json)
    seen = inspect_source(loaded)
    if isinstance(seen, Refused):
        return refuse(seen, as_json=as_json, source=loaded)
    code = answer(True, lambda: of_inspection(seen), lambda: inspection_data(seen), as_json=as_json)
    if why and not as_json:
        from porter.plan import explain

        left = {site.name for site in seen.sites if site.is_left}
        for site in seen.plan.anatomy.sites:
            if site.name in left:
                diagnostic = explain(seen.plan, site)
                put("\n" + render(diagnostic, text_of(diagnostic, loaded)))
    return code


@click.command(cls=Command)
@as_json
def rules(as_json: bool) -> int:
    """List the rules there are: where each applies and what it does."""
    from porter.report.known import of_rules, rules_data
    from porter.rulebook import load_rules
    from porter.shipped import shipped

    loaded = load_rules(shipped("rules"))
    if isinstance(loaded, Refused):
        return refuse(loaded, as_json=as_json)
    return answer(True, lambda: of_rules(loaded), lambda: {"rules": rules_data(loaded)}, as_json=as_json)

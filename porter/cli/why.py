"""`porter why`: why a site is as it is, rule by rule. Nothing is written."""

from __future__ import annotations

from pathlib import Path

import click

from porter.cli.completion import site_names, sites, sources
from porter.cli.rulebook import rulebook, rules_option
from porter.cli.screen import columns, is_terminal
from porter.cli.talk import Command, answer, as_json, refuse, result_stream
from porter.diagnostics import Refused, nearest, refused


@click.command(cls=Command)
@click.argument("source", shell_complete=sources)
@click.argument("site", shell_complete=sites)
@rules_option
@as_json
def why(source: str, site: str, folders: tuple[Path, ...], as_json: bool) -> int:
    """Show why SITE of SOURCE is as it is: by each rule that speaks of such sites, with both texts where they part.

    SITE is a name that `porter inspect SOURCE` lists, or the class alone.

    \b
    Examples:
      porter why transformers.models.llama LlamaMLP.forward
      porter why transformers.models.falcon_h1 FalconH1MLP --rules ./rules
    """
    from porter.convert import inspect
    from porter.plan.why import fates, site_named
    from porter.report.why import of_why, why_data
    from porter.source import load_source

    loaded = load_source(source)
    if isinstance(loaded, Refused):
        return refuse(loaded, as_json=as_json)
    unknown = _no_such_site(site, site_names(loaded))
    if unknown is not None:
        return refuse(unknown, as_json=as_json)
    book = rulebook(folders)
    if isinstance(book, Refused):
        return refuse(book, as_json=as_json)
    seen = inspect(loaded, rules=book, every=True)
    if isinstance(seen, Refused):
        return refuse(seen, as_json=as_json, source=loaded)
    found = site_named(seen.plan, site)
    if isinstance(found, Refused):
        return refuse(found, as_json=as_json)
    report = next((each for each in seen.sites if each.name == found.name), None)
    told = fates(seen.plan, found)
    on_screen = is_terminal(result_stream())
    width = min(columns(result_stream()), 160) if on_screen else 120
    return answer(
        True,
        lambda: of_why(seen.plan, found, report, told, width, wraps=on_screen),
        lambda: why_data(seen.plan, found, report, told),
        as_json=as_json,
    )


def _no_such_site(name: str, known: list[str]) -> Refused | None:
    """P041 for a name of no site, nor of a site's class, before the rules are tried."""
    owners = {site.rpartition(".")[0]: site for site in known if "." in site}
    if not known or name in known or name in owners:  # of what cannot be read, the stages say why
        return None
    found = nearest(name, known) or [owners[owner] for owner in nearest(name, owners)]
    close = " or ".join(f"`{other}`" for other in found)
    return refused("P041", f"no site `{name}`", f"did you mean {close}?" if close else "see `porter inspect`")

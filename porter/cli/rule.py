"""`porter rule`: one rule as a page. Nothing is written, nothing of a source is run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from porter.cli.completion import rules, sources
from porter.cli.rulebook import IDENTITIES, no_such_rule, rulebook, rules_option
from porter.cli.talk import Command, answer, as_json, progress, refuse
from porter.diagnostics import Refused

if TYPE_CHECKING:
    from porter.report.rule_page import Taken
    from porter.rulebook import LoadedRule
    from porter.source import Source

SEARCHED, FOUND = 24, 4  # sources that are searched unasked, a second each; and those with sites that are enough


@click.command(cls=Command)
@click.argument("name", shell_complete=rules)
@click.option(
    "--source",
    "named",
    metavar="SOURCE",
    multiple=True,
    shell_complete=sources,
    help="Sites in this one only; may be repeated.",
)
@click.option("--all", "everywhere", is_flag=True, help="Sites in every causal model of the installed transformers.")
@click.option("--no-sites", is_flag=True, help="The page without sites, at once.")
@rules_option
@as_json
def rule(
    name: str, named: tuple[str, ...], everywhere: bool, no_sites: bool, folders: tuple[Path, ...], as_json: bool
) -> int:
    """Show one rule as a page: what it does and why, its code, guards, cases that it must not match, proof, sites.

    Sites are looked for in the installed transformers, in sources that hold the rule's words: in 24 at most, until
    four have some.

    \b
    Examples:
      porter rule swiglu
      porter rule swiglu --source transformers.models.llama
      porter rule mine --rules ./rules --all --json
    """
    if sum(map(bool, (named, everywhere, no_sites))) > 1:
        raise click.UsageError("--source, --all and --no-sites say where sites are looked for: give one of them")
    from porter.report.rule_page import of_rule, rule_data
    from porter.rulebook import unknown_rule

    book = no_such_rule((name,), folders) or rulebook(folders, proving=True)
    if isinstance(book, Refused):
        return refuse(book, as_json=as_json)
    unknown = unknown_rule((name,), book)
    if unknown is not None:
        return refuse(unknown, as_json=as_json)
    chosen = next((each for each in book if each.name == name), None)
    if chosen is None:
        raise click.UsageError(f"`{IDENTITIES}` are no rule: `porter prove {IDENTITIES}` shows that they hold")
    taken = None if no_sites else _taken(chosen, book, named, everywhere)
    if isinstance(taken, Refused):
        return refuse(taken, as_json=as_json)
    return answer(True, lambda: of_rule(chosen, taken), lambda: rule_data(chosen, taken), as_json=as_json)


def _taken(
    chosen: LoadedRule, book: tuple[LoadedRule, ...], named: tuple[str, ...], everywhere: bool
) -> Taken | Refused:
    from porter.convert import inspect
    from porter.report.rule_page import Taken
    from porter.source import load_source

    loaded: list[Source] = []
    for source in (load_source(spec) for spec in named):
        if isinstance(source, Refused):
            return source
        loaded.append(source)
    there = loaded or _with_its_words(chosen)
    if isinstance(there, Refused):
        return there
    is_bounded = not (named or everywhere)
    within = there[:SEARCHED] if is_bounded else there
    rows: list[tuple[str, str, str]] = []
    asked = 0
    for source in progress(within, f"looking for sites of {chosen.name}", len(within)):
        if is_bounded and len({row[0] for row in rows}) >= FOUND:
            break
        asked += 1
        seen = inspect(source, rules=book)
        if isinstance(seen, Refused):
            if named:
                return seen
            continue
        shown = (source.module or source.display).rpartition(".")[2]
        rows += [(shown, site.name, site.status) for site in seen.sites if chosen.name in site.rules]
    return Taken(tuple(rows), asked, len(there))


def _with_its_words(rule: LoadedRule) -> Sequence[Source] | Refused:
    """The causal models of the installed transformers in whose text the words of the rule's patterns are."""
    from porter.matrix.library import causal_modules
    from porter.source import load_source

    modules = causal_modules()
    if isinstance(modules, Refused):
        return modules
    sources = (source for source in map(load_source, modules) if not isinstance(source, Refused))
    return [source for source in sources if all(_holds(source.text, words) for words in rule.words if words)]


def _holds(text: str, patterns: Sequence[frozenset[str]]) -> bool:
    return any(all(word in text for word in words) for words in patterns)

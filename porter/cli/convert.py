"""`porter convert`: a source becomes a port, or the port there is compared with it."""

from __future__ import annotations

import keyword
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from porter.cli.completion import rules, sites, sources
from porter.cli.consent import consent_option
from porter.cli.diff import show_diff
from porter.cli.idle import refuse_idle
from porter.cli.models import FOLDER
from porter.cli.project import Project, find_project
from porter.cli.rulebook import recorded_rules, rulebook, rules_option
from porter.cli.talk import (
    DONE,
    FAILED,
    Command,
    answer,
    as_json,
    format_option,
    put_findings,
    refuse,
    say,
    verbose_option,
)
from porter.diagnostics import Refused
from porter.report.diagnostic import render

if TYPE_CHECKING:
    from porter.rewrite import Ported
    from porter.source import Source


@click.command(cls=Command)
@click.argument("source", shell_complete=sources)
@click.option("--out", metavar="DIR", type=click.Path(path_type=Path), help="Its folder [generated_models/NAME].")
@click.option("--name", help="The port's name, as launchers will say it [the last folder of --out].")
@click.option(
    "--keep",
    metavar="SITE",
    multiple=True,
    shell_complete=sites,
    help="Leave this site as the source has it; may be repeated.",
)
@click.option(
    "--without",
    metavar="RULE",
    multiple=True,
    shell_complete=rules,
    help="Do not use this rule; may be repeated.",
)
@rules_option
@click.option(
    "--unproved", is_flag=True, help="Let rules of your own port that have no proof, or write an op unknown here."
)
@click.option("--strict", is_flag=True, help="Refuse when any site is left that no rule takes.")
@click.option("--check", is_flag=True, help="Write nothing: convert again and compare with DIR byte for byte.")
@click.option("--diff", is_flag=True, help="Write nothing: print the diff that port.diff would be.")
@click.option("--force", is_flag=True, help="Replace DIR if it holds a port or nothing.")
@consent_option
@verbose_option
@format_option
@as_json
def convert(
    source: str,
    out: Path | None,
    name: str | None,
    keep: tuple[str, ...],
    without: tuple[str, ...],
    folders: tuple[Path, ...],
    unproved: bool,
    strict: bool,
    check: bool,
    diff: bool,
    force: bool,
    trust_remote_code: bool,
    verbose: bool,
    form: str | None,
    as_json: bool,
) -> int:
    """Port SOURCE: a module (transformers.models.llama), a file, or a checkpoint folder with its own modeling file.

    Nothing of SOURCE is imported or run.

    \b
    Examples:
      porter convert transformers.models.llama --out generated_models/llama2
      porter convert ./checkpoint --name mymodel --keep MyRMSNorm.forward
      porter convert transformers.models.vaultgemma --rules ./rules
      porter convert transformers.models.llama --out generated_models/llama2 --check
      porter convert transformers.models.llama --diff
    """
    _check_usage(check, diff, force)
    from porter.convert import convert as convert_source
    from porter.source import load_source

    loaded = load_source(source)
    if isinstance(loaded, Refused):
        return refuse(loaded, as_json=as_json)
    project = find_project()
    if isinstance(project, Refused):
        return refuse(project, as_json=as_json)
    name = _checked_name(name or (_folder_name(out) if out and out.name else None) or default_name(loaded))
    out = out or (project.models or FOLDER) / name
    taken = None if check or diff else _taken(out, force)
    if taken is not None:
        return refuse(taken, as_json=as_json)
    book = recorded_rules(out) if check and not folders else rulebook(folders)
    if isinstance(book, Refused):
        return refuse(book, as_json=as_json)
    ported = convert_source(
        loaded,
        name=name,
        keep=tuple(dict.fromkeys((*keep, *_kept_here(project, loaded)))),
        without=tuple(dict.fromkeys((*without, *project.without))),
        strict=strict,
        rules=book,
        unproved=unproved,
        trust_remote_code=trust_remote_code,
    )
    if isinstance(ported, Refused):
        return refuse(ported, as_json=as_json, source=loaded)
    if diff:
        return show_diff(ported, out, as_json=as_json)
    if check:
        return _compare(ported, out, as_json=as_json)
    return _write(ported, out, force=force, verbose=verbose, as_json=as_json)


def _check_usage(check: bool, diff: bool, force: bool) -> None:
    if (check or diff) and force:
        raise click.UsageError(f"{'--check' if check else '--diff'} writes nothing: leave out --force")
    if check and diff:
        raise click.UsageError("--check compares with a port, --diff shows a new one: give one of them")
    refuse_idle(not (check or diff), "with --check and --diff, which tell what differs", "verbose")
    refuse_idle(check, "without --check", "form")


def _checked_name(name: str) -> str:
    if not name.isidentifier() or keyword.iskeyword(name):
        raise click.BadParameter(f"`{name}` is no Python identifier: give one with --name", param_hint="--name")
    return name


def _kept_here(project: Project, source: Source) -> list[str]:
    """Sites that the project keeps; it may name those of other sources too."""
    here = [name for name in project.keep if name.split(".")[0] in source.text]
    if len(here) < len(project.keep):
        say(f"note: kept elsewhere, by `{project.file}`: {', '.join(n for n in project.keep if n not in here)}")
    return here


def default_name(source: Source) -> str:
    return source.path.stem.removeprefix("modeling_")


def _folder_name(out: Path) -> str:
    """Of the folder that is written: a link leads to another."""
    return Path(os.path.realpath(out)).name


def _taken(out: Path, force: bool) -> Refused | None:
    """Said before the work is done; the write says it again, should another have been faster."""
    from porter.emit import occupied

    return occupied(Path(os.path.realpath(out)), force=force)


def _write(ported: Ported, out: Path, *, force: bool, verbose: bool, as_json: bool) -> int:
    from porter.emit import emit
    from porter.report.port import conversion_data, of_conversion

    written = emit(ported, out, force=force)
    if isinstance(written, Refused):
        return refuse(written, as_json=as_json, source=ported.source)
    code = answer(
        True,
        lambda: of_conversion(ported, written, out, verbose=verbose),
        lambda: conversion_data(ported, written, out),
        as_json=as_json,
    )
    for rule in (rule for rule in ported.own if rule.lacks):
        say(f"note: taken unproved, rule `{rule.name}`: {'; '.join(lack.message for lack in rule.lacks)}")
    for warning in written.warnings:
        say(render(warning))
    if written.registry is None:
        folder = _folder_name(out)
        say(f"note: not registered, since the folder is `{folder}` and the port `{ported.name}`: loaders want one")
    return code


def _compare(ported: Ported, out: Path, *, as_json: bool) -> int:
    from porter.emit import check
    from porter.report.findings import of_differing
    from porter.report.port import differences_data, of_differences

    differences = check(ported, out)
    if isinstance(differences, Refused):
        return refuse(differences, as_json=as_json, source=ported.source)
    if put_findings(lambda: list(of_differing(differences, out))):
        return FAILED if differences else DONE
    same = f"{out} is what converting again gives"
    return answer(
        not differences,
        lambda: of_differences(differences, out) if differences else [same],
        lambda: {"name": ported.name, "folder": str(out), "differences": differences_data(differences)},
        as_json=as_json,
    )

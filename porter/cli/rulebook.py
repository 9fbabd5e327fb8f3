"""The rules that a command goes by: porter's own, those of packages, of the project, of `--rules`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from porter.cli.completion import rule_names
from porter.cli.project import find_project
from porter.diagnostics import Refused, nearest, refused
from porter.shipped import shipped

if TYPE_CHECKING:  # it comes with LibCST, which a command may do without
    from porter.rulebook import LoadedRule, RuleFolder

rules_option = click.option(
    "--rules",
    "folders",
    metavar="DIR",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A folder of rules of your own, beside porter's; may be repeated.",
)


IDENTITIES = "identities"  # what `porter prove` takes beside names of rules


def no_such_rule(names: Iterable[str], folders: Iterable[Path]) -> Refused | None:
    """P042 for the first name that no rule file has, told before any is read."""
    known = (IDENTITIES, *rule_names(folders))
    unknown = next((name for name in names if name not in known), None)
    if unknown is None:
        return None
    close = " or ".join(f"`{other}`" for other in nearest(unknown, known))
    return refused("P042", f"no rule `{unknown}`", f"did you mean {close}?" if close else "see `porter rules`")


def given(folders: Iterable[Path]) -> tuple[RuleFolder, ...]:
    """The folders of `--rules`."""
    from porter.rulebook import RuleFolder

    return tuple(map(RuleFolder, folders))


def folders_beside(folders: Iterable[Path]) -> tuple[RuleFolder, ...] | Refused:
    """Folders of rules beside porter's: those of packages, of the project, and those given."""
    from porter.rulebook import package_folders

    project, brought = find_project(), package_folders()
    if isinstance(project, Refused) or isinstance(brought, Refused):
        return project if isinstance(project, Refused) else brought
    return (*brought, *project.rules, *given(folders))


def rulebook(folders: Iterable[Path], *, proving: bool = False) -> tuple[LoadedRule, ...] | Refused:
    """All rules that a command goes by, where `--rules` names `folders`."""
    from porter.rulebook import load_rules

    beside = folders_beside(folders)
    return beside if isinstance(beside, Refused) else load_rules(shipped("rules"), beside=beside, proving=proving)


def recorded_rules(port: Path) -> tuple[LoadedRule, ...] | Refused:
    """The rules that the port in a folder says it was made with, whatever the project says; where there is no port,
    those of a conversion."""
    from porter.emit.account import read_account
    from porter.emit.recorded import recorded_folders
    from porter.rulebook import load_rules, package_folders

    account, brought = read_account(port), package_folders()
    if isinstance(brought, Refused) or isinstance(account, Refused):
        return brought if isinstance(brought, Refused) else rulebook(())
    return load_rules(shipped("rules"), beside=(*brought, *recorded_folders(account, port)))

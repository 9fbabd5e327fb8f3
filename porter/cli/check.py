"""`porter check`: checked-in ports are what converting their sources again gives. Writes nothing, runs nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from porter.cli.completion import ports
from porter.cli.models import FOLDER, port_folder
from porter.cli.project import find_project
from porter.cli.rulebook import recorded_rules
from porter.cli.talk import DONE, FAILED, Command, answer, as_json, format_option, progress, put_findings, refuse
from porter.diagnostics import Diagnostic, Refused, refused
from porter.report.blocks import Block, Report, Row, Table, Tone, Words

if TYPE_CHECKING:
    from porter.emit import Difference
    from porter.report.findings import Finding


@dataclass(frozen=True)
class _Checked:
    """A port's folder, and how it differs from its source converted again, or why that cannot be told."""

    folder: Path
    differences: tuple[Difference, ...] = ()
    why_not: tuple[Diagnostic, ...] = ()

    @property
    def status(self) -> str:
        return "refused" if self.why_not else "differs" if self.differences else "same"


@click.command(cls=Command)
@click.argument("named", metavar="[NAME|DIR|FILE]...", nargs=-1, shell_complete=ports)
@format_option
@as_json
def check(named: tuple[str, ...], form: str | None, as_json: bool) -> int:
    """Convert the sources of ports again, as each was made, and compare byte for byte. For CI and commit hooks.

    Without arguments all ports of the project's folder, else of generated_models here. FILE stands for the port that it
    is of; a file of no port, as a rule is, for all of them.

    \b
    Examples:
      porter check
      porter check llama2
      porter check --format github
    """
    folders = _folders(named)
    if isinstance(folders, Refused):
        return refuse(folders, as_json=as_json)
    found = [_checked(folder) for folder in progress(folders, "checking", len(folders))]
    code = DONE if all(one.status == "same" for one in found) else FAILED
    if put_findings(lambda: [finding for one in found for finding in _findings(one)]):
        return code
    return answer(
        code == DONE, lambda: _report(found), lambda: {"ports": [_data(one) for one in found]}, as_json=as_json
    )


def _folders(named: Iterable[str]) -> list[Path] | Refused:
    """Each port once, in order. P080 for a name of none, and where there is none at all."""
    from porter.emit.account import FILE

    project = find_project()
    if isinstance(project, Refused):
        return project
    root = project.models or FOLDER
    found: list[Path] = []
    everything = not (named := tuple(named))
    for name in named:
        path = Path(name)
        if os.path.isfile(path):
            above = next((folder for folder in path.parents if (folder / FILE).is_file()), None)
            everything = everything or above is None
            found += [above] if above is not None else []
            continue
        folder = port_folder(name, project.models)
        if isinstance(folder, Refused):
            return folder
        found.append(folder)
    if everything:
        there = sorted(path.parent for path in root.glob(f"*/{FILE}"))
        if not there:
            return refused("P080", f"no ports in `{root}`", "convert a model first, or name a port's folder")
        found += there
    return list(dict.fromkeys(found))


def _checked(folder: Path) -> _Checked:
    from porter.emit import check

    ported = _made_again(folder)
    differences = ported if isinstance(ported, Refused) else check(ported, folder)
    if isinstance(differences, Refused):
        return _Checked(folder, why_not=differences.diagnostics)
    return _Checked(folder, tuple(differences))


def _made_again(folder: Path) -> Any:
    """The port that the recorded source, rules and options give now; or why there is none."""
    from porter.convert import convert
    from porter.emit.account import read_account
    from porter.source import load_source
    from porter.verify.port import open_port

    account = read_account(folder)
    if isinstance(account, Refused):
        return account
    opened = open_port(folder, edited=True, trust_remote_code=True)  # to look, which executes nothing
    spec = opened if isinstance(opened, Refused) else opened.origin.spec
    source = spec if isinstance(spec, Refused) else load_source(spec)
    if isinstance(source, Refused):
        return source
    rules = recorded_rules(folder)
    if isinstance(rules, Refused):
        return rules
    options = account.get("options") or {}
    return convert(
        source,
        name=account["name"],
        keep=tuple(options.get("keep", ())),
        without=tuple(options.get("without", ())),
        strict=bool(options.get("strict")),
        rules=rules,
        unproved=bool(options.get("unproved")),
        trust_remote_code=bool(options.get("trust_remote_code")),
    )


def _findings(one: _Checked) -> Iterator[Finding]:
    from porter.report.findings import of_differing, of_refusal

    yield from of_differing(one.differences, one.folder)
    yield from of_refusal(one.why_not)


def _report(found: list[_Checked]) -> Report:
    from porter.report.diagnostic import render
    from porter.report.port import of_differences

    tones: dict[str, Tone] = {"differs": "bad", "refused": "bad"}
    rows = tuple(Row((str(one.folder), one.status), tones.get(one.status, "")) for one in found)
    parts: list[Block] = [Table(("port", ""), rows)]
    for one in found:
        parts += of_differences(one.differences, one.folder) if one.differences else []
        parts += [Words(render(diagnostic), "bad") for diagnostic in one.why_not]
    wrong = [one.folder.name for one in found if one.status != "same"]
    if wrong:
        said = f"{len(wrong)} of {len(found)} ports are not what converting again gives: {', '.join(wrong)}"
        return [
            *parts,
            Words(f"{said}\nconvert them again with `porter convert ... --force`: port.json has the command"),
        ]
    return [*parts, f"{len(found)} ports are what converting again gives" if len(found) > 1 else "as converted again"]


def _data(one: _Checked) -> dict[str, Any]:
    from porter.report.diagnostic import to_json
    from porter.report.port import differences_data

    return {
        "folder": str(one.folder),
        "status": one.status,
        "differences": differences_data(one.differences),
        "reasons": [to_json(diagnostic) for diagnostic in one.why_not],
    }

"""Ported models by name: the option for the folder they are in, and what is said of a name that is not there."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from porter.cli.completion import ports
from porter.cli.idle import refuse_idle
from porter.cli.project import find_project
from porter.cli.talk import refuse, say
from porter.diagnostics import Diagnostic, Refused, nearest
from porter.release import other_release

FOLDER = Path("generated_models")  # where `porter convert` writes to


def _of_project(context: click.Context, parameter: click.Parameter, given: Path | None) -> Path | None:
    """The folder that was given, or the one that the project names."""
    if given is not None or context.resilient_parsing:  # a shell asks what may come next
        return given
    project = find_project()
    if isinstance(project, Refused):
        context.exit(refuse(project, as_json=_as_json(context)))
    return project.models


def _as_json(context: click.Context) -> bool:
    return bool(context.params.get("as_json"))  # options come before arguments, wherever they stand


models_option = click.option(
    "--models",
    metavar="DIR",
    type=click.Path(path_type=Path),
    callback=_of_project,
    help="The folder of ports that NAME is in [the project's, generated_models here, or else the one beside porter].",
)

edited_option = click.option("--edited", is_flag=True, help="Execute a port whose files were changed by hand.")


def other_release_installed() -> Refused | None:
    """P134 where porter does not know the installed transformers: no port is executed there."""
    fault = other_release()
    return None if fault is None else Refused((Diagnostic("P134", fault),))


def say_if_edited(folder: Path) -> tuple[str, ...]:
    """The files of a port that were changed by hand, and a word on stderr that what follows is about these."""
    from porter.emit.edited import edited_files

    edited = edited_files(folder)
    if edited:
        say(f"edited by hand: {', '.join(edited)}; what follows is about the port as it is now")
    return edited


def unknown_model(name: str, models: Path | None) -> Refused | None:
    """P080 for a name that is not registered in `models`, or in what is taken without it."""
    from porter.emit.account import FILE, read_account
    from porter.emit.model_file import CannotLoad
    from porter.emit.registered import default_root, registered

    root = models or default_root()
    notes = [f"looked in `{root}`"]
    with contextlib.suppress(OSError):  # the current folder may be gone
        if models is None and root != FOLDER.resolve():
            notes.append(f"there is no registry in `{FOLDER.resolve()}`")
    try:
        known: tuple[str, ...] = registered(root)
    except (OSError, CannotLoad) as error:
        known = ()
        notes.append(f"its registry cannot be read: {error}")
    if name in known:
        return None
    if name in (".", "..") or "/" in name or not os.path.exists(root / name / FILE):
        return _not_there(name, known, notes)
    read = read_account(root / name)
    if isinstance(read, Refused):
        return read
    notes.append(f"the port in `{root / name}` is called `{read['name']}`: a loader wants one name for both")
    return _not_there(name, known, notes)


def port_folder(port: str, models: Path | None, *, only_there: bool = False) -> Path | Refused:
    """A port's folder as it stands, else a name of the registry in `models`, or `only_there`; what has a slash is a
    folder.

    What is not there says which are near (P080), before anything of torch or transformers is imported; what is there
    and no port, the command says.
    """
    from porter.emit.account import FILE
    from porter.emit.registered import default_root

    path = Path(port)
    if _is_path(port):
        return path if os.path.exists(path) else _no_folder(path)
    if not only_there and os.path.exists(path / FILE):
        return path
    unknown = unknown_model(port, models)
    if unknown is None:
        return (models or default_root()) / port
    return path if not only_there and os.path.isdir(port) else unknown


def _is_path(port: str) -> bool:
    return os.sep in port or port in (os.curdir, os.pardir)


def named_port(context: click.Context, parameter: click.Parameter, given: str | Path) -> Path:
    """The folder of the port that NAME or DIR says, of the folder that `--models` or the project names."""
    if context.resilient_parsing:
        return Path(given)
    port = os.fspath(given)
    refuse_idle(not _is_path(port), "beside a port's folder", "models")
    given_models = context.params.get("models")
    found = port_folder(port, _of_project(context, parameter, given_models), only_there=given_models is not None)
    return found if isinstance(found, Path) else context.exit(refuse(found, as_json=_as_json(context)))


def takes_port(function: Callable[..., int]) -> Callable[..., int]:
    """NAME or DIR, and `--models`: every command takes a port by these, and gets its folder as `directory`."""

    @functools.wraps(function)
    def command(*arguments: Any, models: Path | None, **options: Any) -> int:
        return function(*arguments, **options)

    argument = click.argument("directory", metavar="NAME|DIR", callback=named_port, shell_complete=ports)
    return argument(models_option(command))


def _no_folder(path: Path) -> Refused:
    """P080 for a folder that is not there, with the ports beside it."""
    from porter.emit.account import FILE

    beside: list[str] = []
    with contextlib.suppress(OSError):
        beside = sorted(str(each) for each in path.parent.iterdir() if (each / FILE).is_file())
    close = " or ".join(f"`{other}`" for other in nearest(str(path), beside))
    listed = f"ports there: {', '.join(beside)}" if beside else "give the folder that `porter convert` wrote"
    help = f"did you mean {close}?" if close else listed
    return Refused((Diagnostic("P080", f"no folder `{path}`", help=help),))


def _not_there(name: str, known: Sequence[str], notes: Sequence[str]) -> Refused:
    close = " or ".join(f"`{other}`" for other in nearest(name, known))
    listed = f"registered there: {', '.join(known)}" if known else "convert a model first, or give another --models"
    help = f"did you mean {close}?" if close else listed
    return Refused((Diagnostic("P080", f"no ported model `{name}`", notes=tuple(notes), help=help),))

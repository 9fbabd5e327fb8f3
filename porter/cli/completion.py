"""What a shell may offer for a word that is being typed: rules, sources, sites, ports, pages.

Contract: asked at every press of a key, so nothing of torch or transformers is imported, and what cannot be read offers
nothing and says nothing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from porter.source import Source

Words: TypeAlias = list[CompletionItem]
Complete: TypeAlias = Callable[[click.Context, click.Parameter, str], Words]

CONFIGS = Path(__file__).resolve().parents[1] / "verify" / "configs"  # real models' sizes, by their names


def _beginning(names: Iterable[str], typed: str) -> Words:
    return [CompletionItem(name) for name in sorted(set(names)) if name.startswith(typed)]


def _paths(typed: str, kind: str) -> CompletionItem:
    """The shell's own completion of files or folders."""
    return CompletionItem(typed, type=kind)


def rules(context: click.Context, parameter: click.Parameter, typed: str) -> Words:
    """Rules by their files: those of porter, of the project and of the folders named so far."""
    return _beginning(rule_names(context.params.get("folders") or ()), typed)


def rule_names(folders: Iterable[Path]) -> list[str]:
    """The rules there are, told by the names of their files; none is read."""
    from porter.cli.rulebook import folders_beside
    from porter.diagnostics import Refused
    from porter.rulebook.folders import is_rule_file
    from porter.shipped import shipped

    beside = folders_beside(folders)
    places = [shipped("rules"), *(() if isinstance(beside, Refused) else (folder.path for folder in beside))]
    names: list[str] = []
    for place in places:
        with contextlib.suppress(OSError):
            names += [path.stem for path in place.iterdir() if is_rule_file(path)]
    return names


def sources(context: click.Context, parameter: click.Parameter, typed: str) -> Words:
    """Packages of the installed library's models; files and folders where the word is a path."""
    library = "transformers.models"
    if typed and not library.startswith(typed) and not typed.startswith(library):
        return [_paths(typed, "file")]
    return _beginning((f"{library}.{name}" for name in _models_of(library)), typed)


def _models_of(library: str) -> list[str]:
    from porter.diagnostics import Refused
    from porter.source.installed import locate_module

    located = locate_module(library)
    if isinstance(located, Refused):
        return []
    return [path.parent.name for path in located[0].glob("*/modeling_*.py")]


def sites(context: click.Context, parameter: click.Parameter, typed: str) -> Words:
    """Sites of the SOURCE that stands before, as `porter inspect` lists them; of none, nothing."""
    # behind an option that still wants its value click has taken no argument apart yet
    source = context.params.get("source") or next((word for word in context.args if word[:1] != "-"), None)
    return _beginning(_sites_of(str(source)), typed) if source else []


def _sites_of(spec: str) -> list[str]:
    from porter.diagnostics import Refused
    from porter.source import load_source

    source = load_source(spec)
    return [] if isinstance(source, Refused) else site_names(source)


def site_names(source: Source) -> list[str]:
    """The sites of a source, told without trying a rule; none where it cannot be read."""
    from porter.anatomy import read_anatomy
    from porter.diagnostics import Refused
    from porter.tree import parse

    package = source.module.rpartition(".")[0] if source.module else None
    tree = parse(source.text, source.display, source.path, package)
    anatomy = tree if isinstance(tree, Refused) else read_anatomy(tree, source.entry)
    return [] if isinstance(anatomy, Refused) else [site.name for site in anatomy.sites]


def ports(context: click.Context, parameter: click.Parameter, typed: str) -> Words:
    """Names of ports, and folders where the word is a path."""
    if os.sep in typed:
        return [_paths(typed, "dir")]
    from porter.cli.project import find_project
    from porter.diagnostics import Refused
    from porter.emit.model_file import CannotLoad
    from porter.emit.registered import registered

    project = find_project()
    named = context.params.get("models") or (None if isinstance(project, Refused) else project.models)
    try:
        known: Iterable[str] = registered(named)
    except (OSError, CannotLoad):
        known = ()
    return [*_beginning(known, typed), _paths(typed, "dir")]


def pages(context: click.Context, parameter: click.Parameter, typed: str) -> Words:
    from porter.cli.explain import PAGES

    return _beginning((path.stem for path in PAGES.glob("*.md")), typed)


def configs(context: click.Context, parameter: click.Parameter, typed: str) -> Words:
    return [*_beginning((path.stem for path in CONFIGS.glob("*.json")), typed), _paths(typed, "file")]


def commands(context: click.Context, parameter: click.Parameter, typed: str) -> Words:
    """The commands of the group that the one at work belongs to."""
    group: Any = context.parent.command if context.parent is not None else None
    return _beginning(getattr(group, "commands", {}), typed)

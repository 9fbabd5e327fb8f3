"""Folders of rules that are not porter's own: what names one, what it must be, and those that packages bring.

A package offers its folder by an entry point of the group `porter.rules`, whose value is the folder as a module:
`acme = "acme_npu.rules"`. The folder is found by looking, nothing of the package is imported.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from porter.diagnostics import Diagnostic, Refused, Span
from porter.source.installed import locate_module

GROUP = "porter.rules"


@dataclass(frozen=True)
class RuleFolder:
    """A folder of rules beside the shipped ones."""

    path: Path
    package: str | None = None  # the distribution that brings it, "acme-rules 1.0"; None for a folder of the user's
    place: Span | None = None  # where it is named, in a file

    @property
    def origin(self) -> str:
        """As a person names it."""
        return f"the package {self.package}" if self.package else f"`{self.path}`"

    def file(self, name: str) -> str:
        """A file of the folder by a path that can be opened: as the user gave it."""
        return str(self.path / name)


def fault_of_folder(folder: RuleFolder) -> Refused | None:
    """P031 for what is no folder with rules in it."""
    said = () if folder.package is None else (f"it is what {folder.origin} names under `{GROUP}`",)
    help = "name the folder that holds the rule files"
    if not folder.path.is_dir():
        what = "is not a folder" if folder.path.exists() else "is not there"
        return _refused(f"the folder of rules `{folder.path}` {what}", folder, said, help)
    if not any(is_rule_file(path) for path in folder.path.iterdir()):
        return _refused(f"the folder `{folder.path}` holds no rules", folder, said, f"{help}, `*.py` each")
    return None


def is_rule_file(path: Path) -> bool:
    """Whether a file of a folder of rules is one, by its name."""
    return path.suffix == ".py" and not path.name.startswith("_")


def distinct(folders: Sequence[RuleFolder]) -> tuple[RuleFolder, ...]:
    """Each folder once, however often it is named."""
    found: dict[Path, RuleFolder] = {}
    for folder in folders:
        found.setdefault(folder.path.resolve(), folder)
    return tuple(found.values())


def package_folders() -> tuple[RuleFolder, ...] | Refused:
    """The folders that installed packages bring, by the names of their entry points. P031 where one is not there."""
    found = []
    for name, value, package in sorted(_entry_points()):
        located = locate_module(value)
        if isinstance(located, Refused):
            said = located.diagnostics[0].message
            message = f"the package {package} offers rules as `{name}`, and they are not there"
            help = "install that package again, or take it away"
            return Refused((Diagnostic("P031", message, notes=(said,), help=help),))
        found.append(RuleFolder(located[0], package))
    return tuple(found)


def _entry_points() -> Iterator[tuple[str, str, str]]:
    """Name, module and distribution of each entry point of the group."""
    import importlib.metadata  # 40 ms

    for point in importlib.metadata.entry_points(group=GROUP):
        package = f"{point.dist.name} {point.dist.version}" if point.dist is not None else point.module
        yield point.name, point.module, package


def _refused(message: str, folder: RuleFolder, notes: tuple[str, ...], help: str) -> Refused:
    return Refused((Diagnostic("P031", message, folder.place, notes=notes, help=help),))

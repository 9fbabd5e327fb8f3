"""The file that defines a class which another file imports: found by looking at folders, nothing is imported.

A package may hand on names that it loads when they are first asked for, as transformers does; then the one file of the
package called `configuration_*.py` that has a class of that name is meant.
"""

from __future__ import annotations

from pathlib import Path

from porter.diagnostics import Refused
from porter.source.installed import locate_module


def file_defining(
    name: str, module: str, level: int, file: Path, package: str | None
) -> tuple[Path, str | None] | None:
    """Where `from module import name` of `file` leads, and the package of that place; None where that is not known.

    `level` counts the dots; `package` is the one that `file` belongs to, None for a file of no package.
    """
    beside = file.with_name(f"{module}.py")
    if package is None and "." not in module and level < 2 and beside.is_file():
        return beside, None
    if level:
        parts = package.split(".") if package else []
        if len(parts) < level:
            return None
        module = ".".join([*parts[: len(parts) - level + 1], *([module] if module else [])])
    located = locate_module(module) if module else None
    if located is None or isinstance(located, Refused):
        return None
    place, full = located
    if place.is_file():
        return place, full.rpartition(".")[0]
    found = [path for path in sorted(place.rglob("configuration_*.py")) if _has_class(path, name)]
    if len(found) != 1:
        return None
    return found[0], ".".join([full, *found[0].relative_to(place).parent.parts])


def _has_class(path: Path, name: str) -> bool:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return any(f"\nclass {name}{end}" in f"\n{text}" for end in "(:")

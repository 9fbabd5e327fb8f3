"""Where the modules of installed packages are, found by looking at folders: nothing is imported.

`importlib.util.find_spec` imports the parents of a module; for transformers that costs seconds and runs its code.
"""

from __future__ import annotations

import importlib.machinery
import os
import site
import sysconfig
from pathlib import Path

from porter.diagnostics import Diagnostic, Refused, nearest


def locate_module(name: str) -> tuple[Path, str] | Refused:
    """The file or package folder of a dotted module, and its name."""
    top, *rest = name.split(".")
    if not all(part.isidentifier() for part in (top, *rest)):
        return _refused(f"`{name}` is neither a file, a folder nor a module name", help="check the spelling")
    spec = importlib.machinery.PathFinder.find_spec(top)
    if spec is None:
        return _refused(
            f"no package `{top}` is installed here",
            help="install it in this environment, or give the path of the modeling file",
        )
    folders = [Path(place) for place in spec.submodule_search_locations or ()]
    here = folders[0] if folders else Path(spec.origin or "")
    seen = top
    for part in rest:
        entry = _entry(folders, part)
        if entry is None:
            return _missing_module(name, seen, part, folders)
        seen, here = f"{seen}.{part}", entry
        folders = [entry] if entry.is_dir() else []
    if not here.is_dir() and here.suffix != ".py":
        return _refused(f"`{name}` has no Python source", code="P004", notes=(f"found {here}",))
    return here, seen


def _entry(folders: list[Path], part: str) -> Path | None:
    """A package before a module before a plain folder, as Python's own import would choose."""
    for folder in folders:
        if os.path.isfile(folder / part / "__init__.py"):
            return folder / part
        if os.path.isfile(folder / f"{part}.py"):
            return folder / f"{part}.py"
    return next((folder / part for folder in folders if os.path.isdir(folder / part)), None)


def _missing_module(name: str, parent: str, part: str, folders: list[Path]) -> Refused:
    message = f"no module `{name}`"
    if not folders:
        return _refused(message, notes=(f"`{parent}` is a module, not a package",), help=f"name `{parent}`")
    entries = {_module_name(entry) for folder in folders if folder.is_dir() for entry in folder.iterdir()}
    close = nearest(part, sorted(entry for entry in entries if entry))
    rest = name.removeprefix(f"{parent}.{part}")
    help = f"did you mean {' or '.join(f'`{parent}.{choice}{rest}`' for choice in close)}?" if close else None
    return _refused(message, notes=(f"`{parent}` has no `{part}`",), help=help or f"see what `{parent}` holds")


def _module_name(entry: Path) -> str | None:
    if entry.is_dir():
        return entry.name if entry.name.isidentifier() and not entry.name.startswith("__") else None
    return entry.stem if entry.suffix == ".py" and entry.stem != "__init__" else None


def module_of(path: Path) -> str | None:
    """The module name of a file, where importing that name would take this very file."""
    path = Path(os.path.abspath(path))
    parts = [path.stem]
    folder = path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    if len(parts) == 1 or not all(part.isidentifier() for part in parts):
        return None
    located = locate_module(".".join(parts))
    return None if isinstance(located, Refused) or not _same_file(located[0], path) else located[1]


def _same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def version_of(package: str | None) -> str | None:
    """The installed version by the package's metadata."""
    if package is None:
        return None
    import importlib.metadata  # 40 ms that only reading a source costs

    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def is_installed(path: Path, module: str) -> bool:
    """Whether a module is one of an installed package, and not just code in a folder that happens to be importable.

    What lies in the current folder can be imported too, a downloaded checkpoint among it. The library itself is
    imported by whatever runs a port, wherever it is.
    """
    package = module.split(".")[0]
    if package == "transformers":
        return True
    places = {sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib", "platstdlib")}
    places |= {*site.getsitepackages(), site.getusersitepackages()}
    real = Path(os.path.realpath(path))
    return any(real.is_relative_to(os.path.realpath(place)) for place in places) or _is_editable(real, package)


def _is_editable(path: Path, package: str) -> bool:
    """Whether a distribution of that name is installed from a folder that holds the file."""
    import importlib.metadata
    import json
    from urllib.parse import unquote, urlparse

    try:
        said = json.loads(importlib.metadata.distribution(package).read_text("direct_url.json") or "{}")
        url = urlparse(said["url"]) if said.get("dir_info", {}).get("editable") else None
    except (importlib.metadata.PackageNotFoundError, ValueError, KeyError, AttributeError):
        return False
    return url is not None and url.scheme == "file" and path.is_relative_to(os.path.realpath(unquote(url.path)))


def _refused(message: str, *, code: str = "P001", notes: tuple[str, ...] = (), help: str | None = None) -> Refused:
    return Refused((Diagnostic(code, message, notes=notes, help=help),))

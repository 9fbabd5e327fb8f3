"""What the user named -> the text of one modeling file, and where it came from.

A dotted module name, a `.py` file, or a folder (a checkpoint with its own modeling file) all end in one `Source`.
Nothing is ever imported or run: packages are found on `sys.path` by looking at folders, because importing one costs
seconds and executes code that nobody has read yet. Whether the text is valid Python is for `parse` to say.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from porter.diagnostics import Refused, nearest, refused
from porter.source.checkpoint import modeling_file_named_by_config
from porter.source.installed import locate_module, module_of
from porter.source.read import Source, read_source, unreadable


def load_source(spec: str) -> Source | Refused:
    """The modeling file that `spec` names: a dotted module, a `.py` file or a folder."""
    path = _expanded(spec)
    if isinstance(path, Refused):
        return path
    if os.path.exists(path) or _looks_like_a_path(spec):
        found = _file_at(path)
        return found if isinstance(found, Refused) else read_source(found, module_of(found))
    located = locate_module(spec)
    if isinstance(located, Refused):
        return located
    place, module = located
    if place.is_file():
        return read_source(place, module)
    chosen = _modeling_file_in(place, spec, lambda name: f"{module}.{name.removesuffix('.py')}")
    return chosen if isinstance(chosen, Refused) else read_source(chosen, f"{module}.{chosen.stem}")


def _expanded(spec: str) -> Path | Refused:
    try:
        return Path(spec).expanduser()
    except RuntimeError:  # `~somebody` where the system knows nobody of that name
        user = spec.split("/")[0]
        message = f"no home folder of `{user}` is known here"
        return refused("P001", message, help=f"write the path in full, or `./{spec}` for a name that starts with `~`")


def _looks_like_a_path(spec: str) -> bool:
    return spec.endswith(".py") or "/" in spec or os.sep in spec or spec.startswith((".", "~")) or not spec


# --- files and folders


def _file_at(path: Path) -> Path | Refused:
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
    except FileNotFoundError:
        return refused("P001", f"no file or folder `{path}`", help=_closest_path(path))
    except ValueError:  # a null character
        return refused("P001", f"no file or folder can be called `{path}`", help="check the path")
    except OSError as error:  # a name too long, links in a circle, a folder that may not be entered
        return unreadable(path, error)
    if kind == stat.S_IFDIR:
        named = modeling_file_named_by_config(path)
        if isinstance(named, Refused):
            return named
        return named or _modeling_file_in(path, str(path), lambda name: str(path / name))
    if path.suffix != ".py":
        message = f"`{path}` is not a Python file"
        return refused("P004", message, help="give a `.py` file, a folder with one, or a module name")
    if kind != stat.S_IFREG:  # a pipe would be waited for, a device has no end
        message = f"`{path}` is not a regular file"
        return refused("P004", message, help="write what it holds into a file, and give that")
    return path


def _closest_path(path: Path) -> str:
    try:
        entries = [entry.name for entry in path.parent.iterdir() if entry.is_dir() or entry.suffix == ".py"]
    except OSError:
        return f"the folder `{path.parent}` is not there either" if not path.parent.exists() else "check the path"
    close = nearest(path.name, entries)
    return f"did you mean {' or '.join(f'`{path.parent / name}`' for name in close)}?" if close else "check the path"


def _modeling_file_in(folder: Path, spec: str, full_name: Callable[[str], str]) -> Path | Refused:
    """The folder's one `modeling_*.py`; `full_name` says how the user would name one of several."""
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_file() and _is_modeling(entry.name))
    except OSError as error:
        return unreadable(folder, error)
    if len(names) == 1:
        return folder / names[0]
    if names:
        listed = ", ".join(f"`{full_name(name)}`" for name in names)
        return refused("P003", f"`{spec}` has {len(names)} modeling files", help=f"name one of them: {listed}")
    return refused(
        "P002",
        f"`{spec}` has no modeling file",
        "give a folder with a `modeling_*.py`, or name the file itself",
        f"looked for `modeling_*.py` in {folder}",
    )


def _is_modeling(name: str) -> bool:
    other_frameworks = ("modeling_tf_", "modeling_flax_")
    return name.startswith("modeling_") and name.endswith(".py") and not name.startswith(other_frameworks)

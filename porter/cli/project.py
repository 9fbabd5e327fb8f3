"""`[tool.porter]` of the nearest `pyproject.toml` that has it: rules, folder of ports, sites to keep, rules left out.

    [tool.porter]
    rules = ["npu/rules"]            # folders, as --rules
    models = "npu/generated_models"  # the folder of ports, as --models; `convert` writes there
    keep = ["MyNorm.forward"]        # as --keep, in sources that have such a site
    without = ["swiglu"]             # as --without

Folders are as seen from that file. What is not this form is P035, at its line.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from porter.diagnostics import Diagnostic, Refused, Span, nearest

if TYPE_CHECKING:  # it comes with LibCST, which a command may do without
    from porter.rulebook.folders import RuleFolder

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = "pyproject.toml"
_LISTS = ("rules", "keep", "without")
_FIELDS = ("rules", "models", "keep", "without")


@dataclass(frozen=True)
class Project:
    """What a project says to every command. Without such a file, nothing."""

    file: Path | None = None
    rules: tuple[RuleFolder, ...] = ()
    models: Path | None = None
    keep: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


def find_project(start: Path | None = None) -> Project | Refused:
    """The project that a folder, by default the current one, belongs to."""
    here = start or Path.cwd()
    for folder in (here, *here.parents):
        file = folder / FILE
        if not file.is_file():
            continue
        try:
            text = file.read_bytes().decode("utf-8")
            table = tomllib.loads(text).get("tool", {}).get("porter")
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            return _refused(
                file, f"`{_shown(file)}` cannot be read: {error}", _line_said(error, file), "mend that file"
            )
        if table is not None:
            return _project(file, table, text)
    return Project()


def _project(file: Path, table: Any, text: str) -> Project | Refused:
    for name, value in table.items() if isinstance(table, dict) else ():
        line = _line_of(text, name)
        if name not in _FIELDS:
            close = " or ".join(f"`{other}`" for other in nearest(name, _FIELDS))
            help = f"did you mean {close}?" if close else f"there are {', '.join(_FIELDS)}"
            return _refused(file, f"`[tool.porter]` has no `{name}`", line, help)
        is_list = isinstance(value, list) and all(isinstance(item, str) and item for item in value)
        if not (is_list if name in _LISTS else isinstance(value, str) and value):
            wanted = 'a list of texts, as in `["one"]`' if name in _LISTS else "a text"
            return _refused(file, f"`{name}` of `[tool.porter]` is {value!r}, not {wanted}", line, "mend that file")
    if not isinstance(table, dict):
        return _refused(file, "`porter` of `[tool]` is no table", _line_of(text, "porter"), "write `[tool.porter]`")
    from porter.rulebook.folders import RuleFolder

    root = Path() if file.parent == Path.cwd() else file.parent
    line = _line_of(text, "rules")
    place = Span(_shown(file), line, 0, line, 1)
    return Project(
        file,
        tuple(RuleFolder(root / name, place=place) for name in table.get("rules", ())),
        root / table["models"] if "models" in table else None,
        tuple(table.get("keep", ())),
        tuple(table.get("without", ())),
    )


def _line_of(text: str, name: str) -> int:
    """The line where a key of the table stands; that of the table where it is spelled in some other way."""
    lines = text.split("\n")
    head = next((number for number, line in enumerate(lines, 1) if line.strip().startswith("[tool.porter")), 1)
    below = enumerate(lines[head:], head + 1)
    return next((number for number, line in below if line.partition("=")[0].strip().strip("\"'") == name), head)


def _line_said(error: Exception, file: Path) -> int:
    """The line that a message about broken TOML ends with: "(at line 3, column 1)", or "(at end of document)"."""
    said = str(error)
    number = said.rpartition("(at line ")[2].partition(",")[0]
    if number.isdecimal():
        return int(number)
    return max(1, file.read_bytes().count(b"\n")) if said.endswith("(at end of document)") else 1


def _shown(file: Path) -> str:
    return FILE if file.parent == Path.cwd() else str(file)


def _refused(file: Path, message: str, line: int, help: str) -> Refused:
    return Refused((Diagnostic("P035", message, Span(_shown(file), line, 0, line, 1), help=help),))

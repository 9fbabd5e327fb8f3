"""The folders of rules that a port was made with, as its account names them: to make it again with the same.

Contract: reads `port.json`, and no rule. Each folder is named as the port sees it, so both may be moved together.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from porter.diagnostics import Span
from porter.emit.account import FILE
from porter.rulebook import RuleFolder


def recorded_folders(account: dict[str, Any], folder: Path) -> tuple[RuleFolder, ...]:
    """The folders of rules that the port in `folder` was made with, but for those of packages."""
    listed = (account.get("options") or {}).get("rules") or ()
    root = Path(os.path.realpath(folder))
    places = [(Path(os.path.normpath(root / path)), _line_of(folder, path)) for path in listed]
    return tuple(RuleFolder(_short(path), place=place) for path, place in places)


def _short(path: Path) -> Path:
    """As seen from the current folder, where it lies below that."""
    with suppress(OSError, ValueError):
        return path.relative_to(Path.cwd())
    return path


def _line_of(folder: Path, entry: str) -> Span | None:
    """The place of a text in `port.json`."""
    file, text = folder / FILE, json.dumps(entry, ensure_ascii=False)
    lines = enumerate(file.read_text(encoding="utf-8").split("\n"), start=1)
    return next(
        (Span(str(file), n, line.find(text), n, line.find(text) + len(text)) for n, line in lines if text in line), None
    )

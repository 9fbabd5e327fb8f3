"""The forms of JSON documents, as schemas (draft 2020-12): those files of `porter/schemas`, put together.

Contract: a file `NAME.json` has the members of a result of the command NAME; what all documents share, and what
several name by `$ref`, stands in `shared.json`. What is printed refers to nothing outside it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "schemas"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
_SHARED = "shared"
_FILES = ("matrix",)  # documents that are kept in a file and carry no outcome


def schemas() -> tuple[str, ...]:
    """The commands that have a document."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.json") if path.stem != _SHARED))


def schema_of(command: str | None = None) -> dict[str, Any]:
    """The schema of a command's document: its result, or why there is none; without a command, of any document."""
    names = (command,) if command is not None else schemas()
    shared = _read(_SHARED)
    forms: list[dict[str, Any]] = []
    for name in names:
        form = _read(name)
        shared["$defs"].update(form.pop("$defs", {}))
        forms += [form] if name in _FILES else [_result(name, form), _refusal(name)]
    if command is None:
        forms.append(_refusal(None))
    title = f"porter {command}" if command else "porter"
    return {"$schema": DIALECT, "title": title, "oneOf": forms, "$defs": shared["$defs"]}


def _read(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def _result(name: str, form: dict[str, Any]) -> dict[str, Any]:
    members = {
        "schema": {"const": f"porter.{name}/1"},
        "ok": {"type": "boolean", "description": "Whether the exit code is 0."},
        **form["properties"],
        "diagnostics": {"type": "array", "maxItems": 0},
    }
    required = form.get("required", list(form["properties"]))
    return {
        **form,
        "type": "object",
        "properties": members,
        "required": ["schema", "ok", *required, "diagnostics"],
    }


def _refusal(name: str | None) -> dict[str, Any]:
    members = {
        "schema": {"const": f"porter.{name}/1" if name else "porter/1"},
        "ok": {"const": False},
        "diagnostics": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/diagnostic"}},
    }
    return {
        "type": "object",
        "description": "Why there is no result.",
        "properties": members,
        "required": list(members),
    }

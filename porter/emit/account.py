"""A port -> `port.json`: where it came from, what every rule did, and why the rest was left alone.

The same port gives the same bytes: keys have a fixed order, paths are the short ones, and no time is written.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any

import porter
from porter.diagnostics import Diagnostic, Refused
from porter.emit.entries import FORMAT, fault_of
from porter.emit.templated import regenerate_command
from porter.plan import SiteReport
from porter.rewrite import Change, Ported
from porter.rulebook import LoadedRule, ops_without_kernel
from porter.source import Source
from porter.source.read import LIBRARY

FILE = "port.json"
RECORD = "accept.json"  # beside it: what `porter.accept` found on devices
_WIDTH = 110


def account(data: dict[str, Any]) -> str:
    """The text of `port.json`."""
    return laid_out(data) + "\n"


def as_data(ported: Ported, module: str, files: dict[str, bytes], place: Path) -> dict[str, Any]:
    """The data of `port.json`; `files` are the others of the folder `place`, by name."""
    source, split = ported.source, ported.split_points
    configuration = source.configuration
    own = {rule.name: rule for rule in ported.own}
    changed: dict[str, list[list[int]]] = {}
    for change in ported.changes:
        changed.setdefault(change.site, []).append([change.start, change.end])
    return {
        "format": FORMAT,
        "porter": porter.__version__,
        "name": ported.name,
        "module": module,
        "class": ported.causal_class,
        "source": {
            "module": source.module,
            "package": source.package,
            "version": source.version,
            **_made_under(source),
            "file": source.display,
            **_where(source, place),
            "sha256": source.sha256,
            "configuration": configuration and {"file": configuration.name, "sha256": configuration.sha256},
            "siblings": [{"file": sibling.name, "sha256": sibling.sha256} for sibling in source.siblings],
        },
        "regenerate": regenerate_command(ported, place),
        "options": {key: _option(key, ported.options[key], place) for key in sorted(ported.options)},
        "rules": [{"rule": rule, "sha256": sha256, **_origin(own.get(rule), place)} for rule, sha256 in ported.rules],
        **_ops(ported),
        "sites": [_site(site, changed.get(site.name, [])) for site in ported.sites],
        "changes": [
            {"rule": change.rule, **_part(change), "site": change.site, "lines": [change.start, change.end]}
            for change in ported.changes
        ],
        "split_points": split
        and {
            "layer_class": split.layer_class,
            "row_parallel": list(split.row_parallel),
            "checked_against": split.checked_against,
            "notes": list(split.notes),
        },
        "files": {name: hashlib.sha256(files[name]).hexdigest() for name in sorted(files)},
    }


def _part(change: Change) -> dict[str, str]:
    """What a change is that no rule made."""
    return {"part": change.part} if change.rule is None else {}


def _made_under(source: Source) -> dict[str, str]:
    """The transformers that was there, where the source's own version does not say it."""
    said = source.package == LIBRARY or source.made_under is None
    return {} if said else {"made_under": str(source.made_under)}


def _where(source: Source, place: Path) -> dict[str, str]:
    """Where a source lies that is no installed module, seen from the port's folder.

    Not absolute: a repository that holds both has the same bytes on every machine, and may be moved.
    """
    return {} if source.module and source.installed else {"path": _seen_from(place, source.path)}


def _seen_from(place: Path, path: Path | str) -> str:
    return Path(os.path.relpath(path, place)).as_posix()


def _option(key: str, value: Any, place: Path) -> Any:
    return [_seen_from(place, folder) for folder in value] if key == "rules" else value


def _origin(rule: LoadedRule | None, place: Path) -> dict[str, Any]:
    """Where a rule comes from that did not come with porter: its folder, seen from the port's, or its package."""
    if rule is None or rule.folder is None:
        return {}
    folder = rule.folder
    where = f"package {folder.package}" if folder.package else _seen_from(place, folder.path.resolve())
    return {"from": where, **({"unproved": True} if rule.lacks else {})}


def _ops(ported: Ported) -> dict[str, Any]:
    """The ops that go along, and those that the port needs and nothing here computes."""
    files = [{"file": f"{file.module}.py", "ops": list(file.ops), "sha256": file.sha256} for file in ported.ops]
    asked = sorted({op for rule in ported.own for op in ops_without_kernel(rule)})
    return {**({"ops": files} if files else {}), **({"ops_needed": asked} if asked else {})}


def _site(site: SiteReport, changed_lines: list[list[int]]) -> dict[str, Any]:
    return {
        "site": site.name,
        "kind": site.kind,
        "line": site.line,
        "status": site.status,
        "rules": list(site.rules),
        "changed_lines": changed_lines,
        "reason": site.reason,
    }


def laid_out(value: Any, indent: str = "") -> str:
    """Data as JSON that a reviewer likes: what fits into a line stands in one."""
    flat = _json(value)
    if len(indent) + len(flat) <= _WIDTH or not isinstance(value, dict | list):
        return flat
    inner = indent + "  "
    if isinstance(value, dict):
        rows = [f"{_json(key)}: {laid_out(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(inner + row for row in rows) + f"\n{indent}}}"
    return "[\n" + ",\n".join(inner + laid_out(item, inner) for item in value) + f"\n{indent}]"


def _json(value: Any) -> str:
    """With letters as they are; a file name that is no UTF-8 has bytes which only an escape can hold."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(value)
    return text


def read_account(folder: Path) -> dict[str, Any] | Refused:
    """The `port.json` of a port's folder, whole (see `porter.emit.entries`). P072 for anything else there."""
    path = folder / FILE
    try:
        if stat.S_ISREG(path.stat().st_mode):
            read = json.loads(path.read_bytes())
            fault = fault_of(read)
        else:
            fault = "it is no regular file"  # a pipe would be waited for
    except (OSError, ValueError, RecursionError) as error:
        fault = getattr(error, "strerror", None) or str(error) or type(error).__name__
    if fault is None:
        return read
    message = f"`{path}` is not the account of a port"
    return Refused((Diagnostic("P072", message, notes=(fault,), help="move that folder away, or convert it again"),))

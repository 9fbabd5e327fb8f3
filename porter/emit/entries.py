"""Is a document the account of a port: each entry that porter reads again is there, and is of the right kind.

Contract: `fault_of` names the first entry that is not, in words; what passes can be used without looking again. Names
that become part of a path or of an import are plain names: an account is a file that anybody may have changed.
"""

from __future__ import annotations

import keyword
from typing import Any

FORMAT = 1

_ABSENT = object()


def fault_of(read: Any) -> str | None:
    """What keeps a document from being an account that this porter reads."""
    if not isinstance(read, dict):
        return "it holds no JSON object"
    if "format" not in read:
        return "it has no `format`"
    if read["format"] != FORMAT or isinstance(read["format"], bool):
        return f"its format is {_shown(read['format'])}: this porter reads format {FORMAT}"
    for name in ("name", "module", "class"):
        if not _is_name(read.get(name)):
            return _no(name, read.get(name, _ABSENT), "a Python identifier")
    for name in ("source", "files"):
        if not isinstance(read.get(name), dict):
            return _no(name, read.get(name, _ABSENT), "an object")
    for file, sha256 in read["files"].items():
        if not _is_file_name(file) or not isinstance(sha256, str):
            return _no(f"files.{file}", sha256, "a file name and its sha256")
    return _fault_of_source(read["source"]) or _fault_of_options(read.get("options")) or _fault_of_the_rest(read)


def _fault_of_source(source: dict[str, Any]) -> str | None:
    for name in ("module", "package", "version", "made_under", "path"):
        if source.get(name) is not None and not isinstance(source[name], str):
            return _no(f"source.{name}", source[name], "text")
    module = source.get("module")
    if module is not None and not all(_is_name(part) for part in module.split(".")):
        return _no("source.module", module, "a module's name")
    if not isinstance(source.get("sha256"), str):
        return _no("source.sha256", source.get("sha256", _ABSENT), "text")
    beside = source.get("siblings")
    if beside is not None and not (isinstance(beside, list) and all(map(_is_companion, beside))):
        return _no("source.siblings", beside, "a list of files and their sha256")
    return None


def _fault_of_options(options: Any) -> str | None:
    if options is not None and not isinstance(options, dict):
        return _no("options", options, "an object")
    options = options or {}
    for name in ("keep", "without", "rules"):
        if not _is_texts(options.get(name) or []):
            return _no(f"options.{name}", options[name], "a list of names")
    for name in ("strict", "trust_remote_code", "unproved"):
        if not isinstance(options.get(name, False), bool):
            return _no(f"options.{name}", options[name], "true or false")
    return None


def _fault_of_the_rest(read: dict[str, Any]) -> str | None:
    rules = read.get("rules")
    named = isinstance(rules, list) and all(isinstance(r, dict) and isinstance(r.get("rule"), str) for r in rules)
    if rules is not None and not named:
        return _no("rules", rules, "a list of rules")
    ops = read.get("ops")
    if ops is not None and not (isinstance(ops, list) and all(map(_is_ops, ops))):
        return _no("ops", ops, "a list of files and their ops")
    split = read.get("split_points")
    if split is None:
        return None
    outputs = split.get("row_parallel") if isinstance(split, dict) else None
    is_split = isinstance(split, dict) and _is_name(split.get("layer_class")) and _is_texts(outputs)
    if not is_split:
        return _no("split_points", split, "a layer's class and its row-parallel outputs")
    return None


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value.isidentifier() and not keyword.iskeyword(value)


def _is_file_name(value: Any) -> bool:
    return isinstance(value, str) and value not in ("", ".", "..") and "/" not in value and "\0" not in value


def _is_companion(value: Any) -> bool:
    return isinstance(value, dict) and _is_file_name(value.get("file")) and isinstance(value.get("sha256"), str)


def _is_ops(value: Any) -> bool:
    return isinstance(value, dict) and _is_file_name(value.get("file")) and _is_texts(value.get("ops"))


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _no(name: str, value: Any, wanted: str) -> str:
    return f"it has no `{name}`" if value is _ABSENT else f"its `{name}` is {_shown(value)}, not {wanted}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

"""Files of rules as text: read without importing them; what one takes from another; what is broken, and where.

A rule file may say `from rules.shared.<file> import given_<function>, not_<case>`: each is a function of that rule, as
if it stood there. `rules` is the folder the rule file is in, whatever its name. A shared file holds imports and such
functions and nothing else: what a rule does, its `before` and `after`, stands in the rule's own file.
"""

from __future__ import annotations

import ast
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from porter.diagnostics import Diagnostic, Refused, Span
from porter.nearest import nearest
from porter.parse import Function, Parsed, parse

RULES, SHARED = "rules", "shared"
PREFIXES = ("given_", "not_")


@dataclass(frozen=True)
class Taken:
    """The functions that a rule file takes from one shared file, in the order of that file."""

    file: Parsed
    functions: tuple[Function, ...]


class SharedFiles:
    """The shared files of one folder of rules, each read once."""

    def __init__(self, rules: Path) -> None:
        self._rules = rules
        self._read: dict[str, Parsed | Refused] = {}

    def taken_by(self, rule: Parsed) -> tuple[Taken, ...] | Refused:
        """What a rule file takes. What is not there is located in it; what is broken, in the shared file."""
        taken: list[Taken] = []
        known = set(rule.functions)
        for node in rule.tree.body:
            if not is_taking(node):
                continue
            file = self._file(rule, node)
            if isinstance(file, Refused):
                return file
            for alias in node.names:
                fault = _fault(alias, file, known)
                if fault is not None:
                    return broken(rule, alias, fault)
                known.add(alias.name)
            wanted = {alias.name for alias in node.names}
            taken.append(Taken(file, tuple(f for name, f in file.functions.items() if name in wanted)))
        return tuple(taken)

    def _file(self, rule: Parsed, node: ast.ImportFrom) -> Parsed | Refused:
        name = (node.module or "").removeprefix(f"{RULES}.{SHARED}.")
        if node.level or node.module == name or not name.isidentifier():
            return broken(rule, node, f"a rule takes functions from `{RULES}.{SHARED}.<file>`, from nowhere else")
        path = self._rules / SHARED / f"{name}.py"
        display = f"{self._rules.name}/{SHARED}/{name}.py"
        if not path.is_file():
            return broken(rule, node, f"there is no `{display}`")
        if name not in self._read:
            self._read[name] = _read_shared(path, display)
        return self._read[name]


def is_taking(node: ast.AST) -> TypeGuard[ast.ImportFrom]:
    """Whether a statement of a rule file takes functions from a shared file."""
    return isinstance(node, ast.ImportFrom) and is_of_rules(node.module or "", node.level)


def is_of_rules(module: str, level: int) -> bool:
    """Whether an import is from the rules' own folder."""
    return level > 0 or module.split(".")[0] == RULES


def read_rule_file(path: Path, display: str) -> Parsed | Refused:
    """Read and parse one file. Errors have their place in it."""
    data = path.read_bytes()
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        place = Span(display, data.count(b"\n", 0, error.start) + 1, 0, 1, 1)
        return Refused((Diagnostic("P030", "broken rule: not UTF-8 text", place, help="mend the rule file"),))
    return parse(text, display, path)


def identity(rule: Parsed, taken: tuple[Taken, ...]) -> str:
    """sha256 of a rule: of its file, and of every function it takes."""
    digest = hashlib.sha256(rule.data)
    for shared in taken:
        for function in shared.functions:
            digest.update(shared.file.text(function).encode())
    return digest.hexdigest()


def broken(parsed: Parsed, node: ast.AST, message: str) -> Refused:
    """P030, at a node of the file that is broken."""
    place = parsed.span(node) if hasattr(node, "lineno") else Span(parsed.display, 1, 0, 1, 1)
    return Refused((Diagnostic("P030", f"broken rule: {message}", place, help="mend the rule file"),))


def _fault(alias: ast.alias, file: Parsed, known: set[str]) -> str | None:
    if alias.name not in file.functions:
        close = " or ".join(f"`{name}`" for name in nearest(alias.name, file.functions))
        return f"`{file.display}` has no `{alias.name}`{f'; did you mean {close}?' if close else ''}"
    if alias.asname is not None:
        return f"`{alias.name}` keeps its name: it says what the function is for"
    return f"there is another `{alias.name}` in this rule" if alias.name in known else None


def _read_shared(path: Path, display: str) -> Parsed | Refused:
    parsed = read_rule_file(path, display)
    if isinstance(parsed, Refused):
        return parsed
    for node in parsed.tree.body:
        if not _may_be_shared(node):
            return broken(parsed, node, "a shared file holds imports, `given_*` and `not_*` functions, nothing else")
    return parsed


def _may_be_shared(node: ast.stmt) -> bool:
    if isinstance(node, Function):
        return node.name.startswith(PREFIXES)
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return is_text or (isinstance(node, (ast.Import, ast.ImportFrom)) and not is_taking(node))

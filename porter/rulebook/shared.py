"""Files of rules as text: read without importing them; what one takes from another; what is broken, and where.

A rule file may say `from rules.shared.<file> import given_<function>, not_<case>`: each is a function of that rule, as
if it stood there; so may both sides of an edit that several rules make alike, `before_<edit>` and `after_<edit>`.
`rules` is the folder the rule file is in, whatever its name, and for one of the user's own porter's too. A shared file
holds imports and such functions and nothing else: what a rule alone does stands in its own file.
"""

from __future__ import annotations

import errno
import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeGuard

import libcst as cst

from porter.diagnostics import Diagnostic, Refused, Span, nearest
from porter.tree import Function, Node, Tree, parse
from porter.tree.functions import is_docstring
from porter.tree.imports import bound_by, module_named

RULES, SHARED = "rules", "shared"
PREFIXES = ("given_", "not_")
SIDES = ("before_", "after_")  # of an edit that several rules make
_PROOF = ("proof", "_")  # what is run and never matched: with the cases below, half of the text of the rules
_HELD = "a shared file holds imports, `given_*` and `not_*` functions, both sides of edits, nothing else"
_CASES = "not_"  # what a rule must not match: for who proves it


@dataclass(frozen=True)
class Taken:
    """The functions that a rule file takes from one shared file, in the order of that file."""

    file: Tree = field(compare=False, repr=False)
    functions: tuple[Function, ...] = field(compare=False, repr=False)


class SharedFiles:
    """The shared files of one folder of rules, each read once; without their `not_*` where no rule is to be proved."""

    def __init__(self, rules: Path, *, proving: bool = False, base: Path | None = None) -> None:
        self._rules = rules
        self._proving = proving
        self._base = base  # porter's own rules, whose shared files are taken where the folder has none of that name
        self._read: dict[str, Tree | Refused] = {}

    def taken_by(self, rule: Tree) -> tuple[Taken, ...] | Refused:
        """What a rule file takes. What is not there is located in it; what is broken, in the shared file."""
        taken: list[Taken] = []
        known = set(rule.functions)
        for node in rule.statements:
            if not is_taking(node):
                continue
            file = self._file(rule, node)
            if isinstance(file, Refused):
                return file
            aliases = () if isinstance(node.names, cst.ImportStar) else node.names
            if not aliases:
                return broken(rule, node, f"`{file.display}` has no `*`")
            for alias in aliases:
                fault = _fault(alias, file, known) if self._proving or not _is_case(alias) else None
                if fault is not None:
                    return broken(rule, alias, fault)
                known.add(bound_by(alias))
            wanted = {bound_by(alias) for alias in aliases}
            functions = tuple(f for name, f in file.functions.items() if name in wanted)
            taken.append(Taken(file, functions))
        return tuple(taken)

    def _file(self, rule: Tree, node: cst.ImportFrom) -> Tree | Refused:
        module, level = module_named(node)
        name = module.removeprefix(f"{RULES}.{SHARED}.")
        if level or module == name or not name.isidentifier():
            return broken(rule, node, f"a rule takes functions from `{RULES}.{SHARED}.<file>`, from nowhere else")
        folders = [folder for folder in (self._rules, self._base) if folder is not None]
        there = [folder for folder in folders if os.path.isfile(folder / SHARED / f"{name}.py")]  # no name too long is
        if not there:
            return broken(rule, node, f"there is no `{self._rules.name}/{SHARED}/{name}.py`")
        if len(there) > 1:
            return broken(rule, node, f"`{SHARED}/{name}.py` is in this folder and in porter's: name yours otherwise")
        path = there[0] / SHARED / f"{name}.py"
        display = f"{there[0].name}/{SHARED}/{name}.py"
        if name not in self._read:
            self._read[name] = _read_shared(path, display, self._proving)
        return self._read[name]


def is_taking(node: Node) -> TypeGuard[cst.ImportFrom]:
    """Whether a statement of a rule file takes functions from a shared file."""
    return isinstance(node, cst.ImportFrom) and is_of_rules(*module_named(node))


def is_of_rules(module: str, level: int) -> bool:
    """Whether an import is from the rules' own folder."""
    return level > 0 or module.split(".")[0] == RULES


def read_rule_file(path: Path, display: str, *, proving: bool = False, whole: bool = False) -> Tree | Refused:
    """Read and parse one file: `proving` with the `not_*` at its end, `whole` with its proof too. Errors have their
    place in it."""
    try:
        if not path.is_file():  # a pipe would be waited for
            raise OSError(errno.EINVAL, "it is no regular file")
        data = path.read_bytes()
    except OSError as error:
        message = f"broken rule: `{path}` cannot be read: {error.strerror or error}"
        place = Span(display, 1, 0, 1, 1)
        return Refused((Diagnostic("P030", message, place, help="put a rule file there, or take it away"),))
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        place = Span(display, data.count(b"\n", 0, error.start) + 1, 0, 1, 1)
        return Refused((Diagnostic("P030", "broken rule: not UTF-8 text", place, help="mend the rule file"),))
    unread = () if whole else _PROOF if proving else (*_PROOF, _CASES)
    return parse(text, display, path, unread=unread)


def identity(rule: Tree, taken: tuple[Taken, ...], *more: str) -> str:
    """sha256 of a rule: of its file, of every file it takes functions from, and of more texts that it goes by: its own
    folder's ops and identities."""
    texts = (rule.text, *(each.file.text for each in taken), *more)
    return hashlib.sha256("".join(texts).encode()).hexdigest()


def broken(tree: Tree, node: Node, message: str) -> Refused:
    """P030, at a node of the file that is broken."""
    place = Span(tree.display, 1, 0, 1, 1) if isinstance(node, cst.Module) else tree.span(node)
    return Refused((Diagnostic("P030", f"broken rule: {message}", place, help="mend the rule file"),))


def _fault(alias: cst.ImportAlias, file: Tree, known: set[str]) -> str | None:
    name = alias.evaluated_name
    if name not in file.functions:
        close = " or ".join(f"`{other}`" for other in nearest(name, file.functions))
        return f"`{file.display}` has no `{name}`{f'; did you mean {close}?' if close else ''}"
    if alias.asname is not None:
        return f"`{name}` keeps its name: it says what the function is for"
    return f"there is another `{name}` in this rule" if name in known else None


def _is_case(alias: cst.ImportAlias) -> bool:
    return alias.evaluated_name.startswith(_CASES)


def _read_shared(path: Path, display: str, proving: bool) -> Tree | Refused:
    tree = read_rule_file(path, display, proving=proving)
    if isinstance(tree, Refused):
        return tree
    for node in tree.statements:
        if not _may_be_shared(node):
            return broken(tree, node, _HELD)
    return tree


def _may_be_shared(node: Node) -> bool:
    if isinstance(node, cst.FunctionDef):
        return node.name.value.startswith((*PREFIXES, *SIDES))
    return is_docstring(node) or (isinstance(node, (cst.Import, cst.ImportFrom)) and not is_taking(node))

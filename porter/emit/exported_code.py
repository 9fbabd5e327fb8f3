"""The Python files of a port as a checkpoint has them: the modeling file, and all that it imports from beside it.

Contract: transformers copies, with a file, those that it finds named in lines `from .x import ...`, and reads each as
UTF-8. So every file here is UTF-8, whatever it was written in, and says so of each file it needs. Nothing is executed.
"""

from __future__ import annotations

import io
import tokenize
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import libcst as cst

import porter
from porter.diagnostics import Diagnostic, Refused
from porter.source.beside import named_beside
from porter.source.depth import room_to_recurse
from porter.tree import Tree, parse

_RUNTIME = "import porter.runtime  # first: it refuses a transformers it was not tested with\n"
_SAYS = (
    f"# Exported by porter {porter.__version__} for transformers' `trust_remote_code=True`. It runs where\n"
    "# porter is installed, whose `porter.runtime` it imports; without, loading it is an ImportError.\n#\n"
)


def code_of(port: Path, account: Mapping[str, Any], module: str) -> dict[str, bytes] | Refused:
    """File name -> bytes; the modeling file, last, is `module`.

    P142 for a file that is not there or is no Python; P162 where a file imports the modeling file, which has another
    name now: beside the port it would load the source's classes.
    """
    own, exported = f"{account['module']}.py", f"{module}.py"
    todo = [*(sibling["file"] for sibling in account["source"].get("siblings") or ()), own]
    files = dict[str, bytes]()
    while todo:
        name = todo.pop(0)
        if name == exported:
            return _refused(f"`{port / name}` would stand where the port's own code is to be")
        if name in files:
            continue
        read = _read(port / name)
        if isinstance(read, Refused):
            return read
        plain, others = _modules_beside(read[1])
        if account["module"] in plain | others:
            return _refused(f"`{port / name}` imports `{account['module']}`, which is `{module}` in a checkpoint")
        files[name] = _exported(*read, others - plain, is_port=name == own)
        todo += [f"{other}.py" for other in sorted(plain | others)]
    code = files.pop(own)
    return {**files, exported: code}


def _exported(data: bytes, tree: Tree, unseen: set[str], is_port: bool) -> bytes:
    """A file's bytes; `unseen` are the modules that transformers does not find in it."""
    first = [_RUNTIME] if is_port else []
    if unseen:
        lines = "".join(f"    from .{name} import __name__\n" for name in sorted(unseen))
        first.append(f"if False:  # never run: in such lines transformers finds which files to copy\n{lines}")
    return ((_SAYS if is_port else "") + _with_first(tree, first)).encode("utf-8") if first else data


def _read(file: Path) -> tuple[bytes, Tree] | Refused:
    """A file in UTF-8, without the line that declares another encoding, and its tree."""
    try:
        data = file.read_bytes()
        encoding, first = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = data.decode(encoding)
    except OSError as error:
        return _damaged(f"`{file}` cannot be read: {error.strerror or error}")
    except (SyntaxError, ValueError, LookupError) as error:
        return _damaged(f"`{file}` is not in the encoding that it declares", str(error))
    if encoding not in ("utf-8", "utf-8-sig"):
        lines = text.split("\n")
        text = "\n".join([*lines[: len(first) - 1], *lines[len(first) :]])
    tree = parse(text, file.name, file)
    if isinstance(tree, Refused):
        fault = tree.diagnostics[0]
        line = f", line {fault.span.line}" if fault.span else ""
        return _damaged(f"`{file}`{line}: {fault.message}")
    return text.encode("utf-8"), tree


def _modules_beside(tree: Tree) -> tuple[set[str], set[str]]:
    """Modules that `from .x import ...` names on a line of its own, and those that are named in any other way."""
    nodes = tree.nodes(tree.module)
    at_line_start = {id(node.body[0]) for node in nodes if isinstance(node, cst.SimpleStatementLine)}
    plain, others = set[str](), set[str]()
    for node in nodes:
        if isinstance(node, cst.ImportFrom) and len(node.relative) == 1:
            is_plain = id(node) in at_line_start and isinstance(node.module, cst.Name) and _is_spaced_plainly(node)
            (plain if is_plain else others).update(named_beside(node))
    return plain, others


def _is_spaced_plainly(node: cst.ImportFrom) -> bool:
    """`from .x import`: no space behind the dot, and no line that goes on."""
    (dot,) = node.relative
    inside = (dot.whitespace_before, dot.whitespace_after)
    around = (node.whitespace_after_from, node.whitespace_before_import)
    return all(space.empty for space in inside) and all(
        isinstance(space, cst.SimpleWhitespace) and space.value and not space.value.strip(" \t") for space in around
    )


def _with_first(tree: Tree, statements: list[str]) -> str:
    """The module with statements before all else but its docstring: what is imported first says what is wrong."""
    body = tree.module.body
    place = next((index for index, statement in enumerate(body) if not _comes_first(statement)), len(body))
    added = [cst.parse_statement(statement) for statement in statements]
    after = [
        statement.with_changes(leading_lines=[cst.EmptyLine(indent=False), *statement.leading_lines])
        for statement in body[place : place + 1]
    ]
    with room_to_recurse():
        return tree.module.with_changes(body=[*body[:place], *added, *after, *body[place + 1 :]]).code


def _comes_first(statement: cst.BaseStatement | cst.BaseSmallStatement) -> bool:
    """A docstring, or what Python wants before all else."""
    if not isinstance(statement, cst.SimpleStatementLine):
        return False
    first = statement.body[0]
    if isinstance(first, cst.Expr):
        return isinstance(first.value, (cst.SimpleString, cst.ConcatenatedString))
    return isinstance(first, cst.ImportFrom) and getattr(first.module, "value", None) == "__future__"


def _refused(message: str) -> Refused:
    help = "load this port with `porter.register`, which takes it as it lies"
    return Refused((Diagnostic("P162", message, help=help),))


def _damaged(message: str, *notes: str) -> Refused:
    help = "correct that file, or convert the port again"
    return Refused((Diagnostic("P142", message, notes=notes, help=help),))

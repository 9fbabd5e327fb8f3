"""How deep code nests, and where it nests deepest: in levels of LibCST's tree, told from Python's own."""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections.abc import Iterator
from contextlib import contextmanager

# Levels of code inside code: of an expression, of `elif` behind `elif`. No modeling file of transformers 5.23 has more
# than 40. LibCST 1.9 ends the process at 10,000 levels (8 MiB of stack) and takes quadratic time long before.
DEEPEST = 300
_FRAMES_A_LEVEL = 16  # LibCST's printer: a node in a wrapper in a list, each with its parentheses


@contextmanager
def room_to_recurse() -> Iterator[None]:
    """Python frames enough to walk and print what is `DEEPEST` levels deep, whatever called us."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, _frames() + DEEPEST * _FRAMES_A_LEVEL))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def _frames() -> int:
    frame, count = sys._getframe(), 0
    while frame.f_back is not None:
        frame, count = frame.f_back, count + 1
    return count


def deepest_statement(tree: ast.Module, text: str) -> int | None:
    """The line of a statement that nests deeper than `DEEPEST`, or None."""
    pending: list[tuple[ast.AST, int, int]] = [(tree, 0, 1)]
    behind_an_if: set[ast.AST] = set()  # who reads a chain of `elif` sees one statement: its first line is the place
    long_texts = False
    while pending:
        node, depth, line = pending.pop()
        if depth > DEEPEST:
            return line
        if isinstance(node, ast.expr) and _is_short(node, DEEPEST - depth):
            continue
        if isinstance(node, ast.stmt) and node not in behind_an_if:
            line = node.lineno
        if isinstance(node, ast.If):
            behind_an_if.update(item for item in node.orelse if isinstance(item, ast.If))
        long_texts = long_texts or _may_be_many_literals(node)
        depth += 1 + _hidden_levels(node)
        for value in node.__dict__.values():
            if value.__class__ is list:
                pending += [(item, depth, line) for item in value if isinstance(item, ast.AST)]
            elif isinstance(value, ast.AST):
                pending.append((value, depth, line))
    if long_texts:
        count, line = _most_literals(text)
        return line if count > DEEPEST else None
    return None


def _is_short(node: ast.expr, characters: int) -> bool:
    """Whether an expression stands on one line in so few characters: each level takes one at least."""
    return node.lineno == node.end_lineno and (node.end_col_offset or 0) - node.col_offset <= characters


def _hidden_levels(node: ast.AST) -> int:
    """Levels that LibCST has where Python's own tree is flat."""
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 2
    if isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
        return len(node.generators) - 1
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
        return max(name.count(".") for name in names)
    return 0


def _may_be_many_literals(node: ast.AST) -> bool:
    """Whether the text could be more than `DEEPEST` literals one behind the other: each takes three characters."""
    if not isinstance(node, ast.JoinedStr) and not isinstance(getattr(node, "value", None), (str, bytes)):
        return False
    if not isinstance(node, ast.expr):
        return False
    lines = (node.end_lineno or node.lineno) - node.lineno
    return lines > DEEPEST // 4 or (node.end_col_offset or 0) - node.col_offset > 3 * DEEPEST


def _most_literals(text: str) -> tuple[int, int]:
    """How many string literals stand one behind the other at most, and the line where they start."""
    most, count, line, inside = (0, 1), 0, 1, 0
    layout = (tokenize.NL, tokenize.COMMENT)
    start, end = (getattr(tokenize, name, -1) for name in ("FSTRING_START", "FSTRING_END"))
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        inside += (token.type == start) - (token.type == end)
        if inside or token.type in layout:
            continue
        is_text = token.type in (tokenize.STRING, end)
        line = token.start[0] if is_text and not count else line
        count = count + 1 if is_text else 0
        most = max(most, (count, line), key=lambda found: found[0])
    return most


def longest_statement(text: str) -> int:
    """The line of the statement with the most tokens: where it is, when Python itself finds a text too deep to read."""
    most, count, line, chain = (0, 1), 0, 0, (0, 0)
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type in (tokenize.NL, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT):
                continue
            if not count:
                line = token.start[0]
                chain = (chain[0] + 1, chain[1]) if token.string == "elif" else chain
                if token.string == "if":
                    chain = (0, line)
            count += 1
            most = max(most, (count, line), chain, key=lambda found: found[0])
            count = 0 if token.type == tokenize.NEWLINE else count
    except (tokenize.TokenError, IndentationError):
        pass
    return max(most[1], 1)

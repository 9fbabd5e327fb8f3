"""How deep code nests, and where it nests deepest: in levels of LibCST's tree, told from Python's own."""

from __future__ import annotations

import ast
import contextlib
import io
import sys
import threading
import tokenize
from collections.abc import Iterator

# Levels of code inside code: of an expression, of `elif` behind `elif`. No modeling file of transformers 5.23 has more
# than 40. LibCST 1.9 ends the process at 10,000 levels (8 MiB of stack) and takes quadratic time long before.
DEEPEST = 300
_FRAMES_A_LEVEL = 16  # LibCST's printer: a node in a wrapper in a list, each with its parentheses


_lock = threading.Lock()
_inside = [0, 0]  # how many are inside `room_to_recurse`, and the limit that was before the first


@contextlib.contextmanager
def room_to_recurse() -> Iterator[None]:
    """Python frames enough to walk and print what is `DEEPEST` levels deep, whatever called us, in any thread."""
    with _lock:
        if not _inside[0]:
            _inside[1] = sys.getrecursionlimit()
        _inside[0] += 1
        sys.setrecursionlimit(max(sys.getrecursionlimit(), _frames() + DEEPEST * _FRAMES_A_LEVEL))
    try:
        yield
    finally:
        with _lock:
            _inside[0] -= 1
            if not _inside[0]:
                sys.setrecursionlimit(_inside[1])


def _frames() -> int:
    frame, count = sys._getframe(), 0
    while frame.f_back is not None:
        frame, count = frame.f_back, count + 1
    return count


def deepest_statement(tree: ast.Module, text: str) -> int | None:
    """The line of a statement that nests deeper than `DEEPEST`, or None."""
    pending: list[tuple[ast.AST, int, int]] = [(tree, 0, 1)]
    behind_an_if: set[ast.AST] = set()  # who reads a chain of `elif` sees one statement: its first line is the place
    lines = text.split("\n")
    long_texts = False
    while pending:
        node, depth, line = pending.pop()
        if depth > DEEPEST:
            return line
        if isinstance(node, (ast.expr, ast.stmt)) and _is_short(node, DEEPEST - depth):
            continue
        if isinstance(node, ast.stmt) and node not in behind_an_if:
            line = node.lineno
        if isinstance(node, ast.If):
            behind_an_if.update(item for item in node.orelse if isinstance(item, ast.If))
        long_texts = long_texts or _may_be_many_literals(node, lines)
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


def _is_short(node: ast.expr | ast.stmt, characters: int) -> bool:
    """Whether a piece of code stands on one line in so few characters: each level takes one at least."""
    is_short = node.lineno == node.end_lineno and (node.end_col_offset or 0) - node.col_offset <= characters
    return is_short and not getattr(node, "decorator_list", None)  # the place of a definition does not hold those


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


def _may_be_many_literals(node: ast.AST, lines: list[str]) -> bool:
    """Whether the text could be more than `DEEPEST` literals one behind the other: each takes two quotes."""
    if not isinstance(node, ast.JoinedStr) and not isinstance(getattr(node, "value", None), (str, bytes)):
        return False
    if not isinstance(node, ast.expr):
        return False
    written = "\n".join(lines[node.lineno - 1 : node.end_lineno])
    return len(written) > 2 * DEEPEST and written.count('"') + written.count("'") > 2 * DEEPEST


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


def deepest_by_tokens(text: str) -> int:
    """The line of the statement that seems to nest deepest: for a text too deep for Python's own tree.

    Code nests by what stands between two commas: a wide table has many tokens, and few of them behind each other.
    """
    most, line, chain = (0, 1), 0, (0, 0)
    open_counts: list[int] = []  # tokens since the last comma, for each bracket that is open
    with contextlib.suppress(tokenize.TokenError, SyntaxError):
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type in (tokenize.NL, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT):
                continue
            if not open_counts:
                line, open_counts = token.start[0], [0]
                if token.string in ("if", "elif"):
                    chain = (chain[0] + 1, chain[1]) if token.string == "elif" else (0, line)
            open_counts[-1] = 0 if token.string == "," else open_counts[-1] + _weight(token)
            most = max(most, (sum(open_counts), line), chain, key=lambda found: found[0])
            if token.type == tokenize.NEWLINE:
                open_counts = []
            elif token.string in ("(", "[", "{"):
                open_counts.append(0)
            elif token.string in (")", "]", "}") and len(open_counts) > 1:
                open_counts.pop()
    return max(most[1], 1)


def _weight(token: tokenize.TokenInfo) -> int:
    """One, but for an f-string, which older Pythons have as one token: it may hold as much as its length."""
    is_formatted = token.type == tokenize.STRING and "f" in token.string[:2].lower()
    return len(token.string) if is_formatted else 1

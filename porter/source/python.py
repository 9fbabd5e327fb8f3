"""Whether a text is Python that the tree can hold: asked of Python itself, before LibCST sees the text.

Python's own messages are the better ones, and LibCST 1.9 ends the process on code that nests some thousand levels deep.
So these two files are the place of the engine that looks at Python's own tree, and they look at nothing but its depth.
"""

from __future__ import annotations

import ast
import warnings

from porter.diagnostics import Diagnostic, Refused, Span
from porter.source.depth import DEEPEST, deepest_by_tokens, deepest_statement


def check_python(text: str, display: str) -> Refused | None:
    """P011 for what is not Python, P012 and P013 for layout that a port cannot keep, P014 for what nests too deep."""
    read = without_last_definitions(text, display, ())
    return read if isinstance(read, Refused) else None


def without_last_definitions(text: str, display: str, prefixes: tuple[str, ...]) -> str | Refused:
    """The text without the definitions at its end whose names start with one of `prefixes`; errors of `check_python`.

    What is left out is Python for certain, and of any depth.
    """
    fault = _layout(text, display)
    if fault is not None:
        return fault
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        place = Span(display, line, 0, line, 1)
        return _refused(
            "P011", "not valid Python: a null character", place, "take the null characters out of this file"
        )
    try:
        tree = compile(text, display, "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
    except (RecursionError, MemoryError):
        return _too_deep(deepest_by_tokens(text), display)
    except (SyntaxError, ValueError) as error:
        return _not_python(error, display)
    assert isinstance(tree, ast.Module)
    rest = _take_last_definitions(tree, text, prefixes)
    deep = deepest_statement(tree, rest)
    return rest if deep is None else _too_deep(deep, display)


def _take_last_definitions(tree: ast.Module, text: str, prefixes: tuple[str, ...]) -> str:
    """Take the definitions at the end that are named so out of Python's tree; the text that is left."""
    first: ast.FunctionDef | ast.ClassDef | None = None
    while tree.body:
        last = tree.body[-1]
        if not (isinstance(last, (ast.FunctionDef, ast.ClassDef)) and last.name.startswith(prefixes)):
            break
        first = last
        tree.body.pop()
    if first is None:
        return text
    line = min([first.lineno, *(decorator.lineno for decorator in first.decorator_list)])
    return "".join(f"{written}\n" for written in text.split("\n")[: line - 1])


def check_compiles(text: str, display: str) -> Refused | None:
    """P011 for what Python finds only when it compiles a text, such as a parameter that is there twice."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is odd, and Python all the same
        try:
            compile(text, display, "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as error:
            return _not_python(error, display)
        except RecursionError:
            return _too_deep(1, display)
    return None


def _not_python(error: SyntaxError | ValueError, display: str) -> Refused:
    line = getattr(error, "lineno", None) or 1
    column = max((getattr(error, "offset", None) or 1) - 1, 0)
    message = f"not valid Python: {getattr(error, 'msg', None) or error}"
    help = "mend the syntax of this file; porter reads Python as this interpreter does"
    return _refused("P011", message, Span(display, line, column, line, column + 1), help)


def _layout(text: str, display: str) -> Refused | None:
    if "\n\t" in text:
        line = text[: text.index("\n\t")].count("\n") + 2
        message = "tabs for indentation: rules are written with spaces, and the two do not mix"
        place = Span(display, line, 0, line, 1)
        return _refused("P012", message, place, "indent the file with spaces, then convert it")
    if "\r" in text:
        before = text[: text.index("\r")].split("\n")
        column = len(before[-1])
        message = "a carriage return that ends no line: editors and tools would count lines differently"
        place = Span(display, len(before), column, len(before), column + 1)
        return _refused("P013", message, place, "end the lines with a newline, then convert it")
    return None


def _too_deep(line: int, display: str) -> Refused:
    message = f"code inside code, more than {DEEPEST} levels deep, in the statement that starts here"
    help = "write it as a loop, a table, or several statements"
    return _refused("P014", message, Span(display, line, 0, line, 1), help)


def _refused(code: str, message: str, place: Span, help: str) -> Refused:
    return Refused((Diagnostic(code, message, place, help=help),))

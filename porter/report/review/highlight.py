"""Lines of Python -> HTML, highlighted by Pygments as one text: a docstring is one wherever it is cut."""

from __future__ import annotations

from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

_LIGHT, _DARK = "xcode", "github-dark"


def highlighted(text: str) -> list[Markup]:
    """The lines of a text, each a piece of HTML that stands by itself."""
    # Pygments takes a carriage return for the end of a line; what is shown has none
    plain = text.replace("\r\n", "\n").replace("\r", "\N{SYMBOL FOR CARRIAGE RETURN}")
    lexer, formatter = PythonLexer(stripnl=False, ensurenl=False), HtmlFormatter(nowrap=True)
    return [Markup(line) for line in highlight(plain, lexer, formatter).split("\n")]


def styles() -> dict[str, str]:
    """The rules of both schemes, for elements of the class `code`."""
    return {name: _styles(style) for name, style in (("light", _LIGHT), ("dark", _DARK))}


def _styles(style: str) -> str:
    lines = HtmlFormatter(style=style).get_style_defs(".code").split("\n")
    return "\n".join(line for line in lines if line.startswith(".code .") and "/* Error */" not in line)

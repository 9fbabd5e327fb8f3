"""Where a rule puts its code among the statements, comments and parentheses of a small model."""

from __future__ import annotations

import ast
import sys
import textwrap

import pytest

from porter.convert import convert
from porter.diagnostics import Refused
from porter.rewrite import Ported
from tests.engine.checks import lost_comments
from tests.engine.sources import accepted, free_standing, rules_of, write_rule
from tests.engine.test_plan import ANY, BOTH, EXPRESSION, FIRST, MODEL, statements

Rule = tuple[str, str, str]
BODY = """        x = first(x)
        x = second(x)
        return softmax(self.q(x) + self.k(third(x)))
"""
END = "        return softmax(self.q(x) + self.k(x))\n"
THIRD = ("third", EXPRESSION, statements("third(p)", "quick(p, 3)"))
GONE = ("gone", ANY, statements("first(p)\n    ...\n    second(p)", "...\n    both(p)"))
INSIDE = (
    "inside",
    ANY,
    statements("if p:\n        first(p)\n        ...\n        second(p)", "if p:\n        ...\n        both(p)"),
)
BRANCHES = ("branches", ANY, statements("if p:\n        first(p)\n    else:\n        second(p)", "both(p)"))
MANY = ("many", ANY, statements("x = first(p)", "x = one(p)\n    if x:\n        x = two(x)"))
REST = ("rest", EXPRESSION, statements("third(p, **...)", "quick(p, **...)"))


@pytest.fixture
def converted(tmp_path):
    """The outcome for a model by rules."""

    def run(model: str, *rules: Rule) -> Ported | Refused:
        compile(model, "model", "exec")
        for name, declaration, functions in rules:
            write_rule(tmp_path / "rules", functions, name, declaration)
        return convert(free_standing(model), name="tiny", rules_directory=tmp_path / "rules")

    return run


def with_body(lines: str) -> str:
    """The model with an attention that does this."""
    assert BODY in MODEL
    return MODEL.replace(BODY, textwrap.indent(lines, " " * 8) + "\n" + END)


def case(name: str, rule: Rule, lines: str):
    return pytest.param(rule, with_body(lines), id=f"{rule[0]}: {name}")


COMMENTED = [
    case("among others on a line", FIRST, "# A\ny = 1; x = first(x); z = 2  # B\n# C"),
    case("the first on a line", FIRST, "# A\nx = first(x); z = 2  # B\n# C"),
    case("the last on a line", FIRST, "# A\nz = 2; x = first(x)  # B\n# C"),
    case("a semicolon behind it", FIRST, "x = first(x);  # A"),
    case("a suite on a line", FIRST, "if x: x = first(x); y = 1  # A\nelse: y = 2  # B\n# C"),
    case("an `else` on a line", FIRST, "if x: y = 1  # A\nelse: x = first(x)  # B\n# C"),
    case("in an `elif`", FIRST, "if y: pass  # A\n# B\nelif x:  # C\n    # D\n    x = first(x)  # E\n    # F"),
    case("two on a line", BOTH, "# A\ny = 0; x = first(x); x = second(x); z = 1  # B"),
    case("two on two lines", BOTH, "# A\ny = 0; x = first(x)  # B\n# C\nx = second(x); z = 1  # D\n# E"),
    case("a loop on a line", BOTH, "for i in x: x = first(x); x = second(x)  # A\n# B"),
    case("a block behind it", MANY, "# A\nx = first(x)  # B\n# C"),
    case("a block in a suite", MANY, "if x: x = first(x)  # A\n# B"),
    case("alone", GONE, "# A\nfirst(x)  # B\n# C\nsecond(x)  # D\n# E"),
    case("around others", GONE, "# A\nfirst(x)  # B\n# C\ny = 1  # D\n# E\nsecond(x)  # F\n# G"),
    case("before others on its line", GONE, "# A\nfirst(x); y = 1  # B\n# C\nsecond(x)  # D"),
    case("behind others on its line", GONE, "# A\ny = 1; first(x)  # B\n# C\nsecond(x)  # D"),
    case("all on one line", GONE, "# A\ny = 1; first(x); z = 2; second(x); t = 3  # B"),
    case("in a block", GONE, "if x:  # A\n    # B\n    first(x)  # C\n    y = 1\n    second(x)  # D\n    # E"),
    case(
        "statements", INSIDE, "# A\nif x:  # B\n    # C\n    first(x)  # D\n    # E\n    y = 1  # F\n    second(x)  # G"
    ),
    case(
        "a block",
        INSIDE,
        "if x:\n    first(x)\n    # A\n    if y:  # B\n        z = 1  # C\n        # D\n    second(x)",
    ),
    case("a suite on a line", INSIDE, "if x: first(x); y = 1; second(x)  # A"),
    case(
        "everywhere", BRANCHES, "# A\nif x:  # B\n    # C\n    first(x)  # D\n# E\nelse:  # F\n    second(x)  # G\n# H"
    ),
    case("behind the blocks", BRANCHES, "if x:\n    first(x)\n    # A\nelse:\n    second(x)\n    # B\n# C"),
    case(
        "in parentheses", THIRD, "y = (  # A\n    third(  # B\n        # C\n        x  # D\n    )  # E\n    # F\n)  # G"
    ),
    case("in its argument", THIRD, "y = third((  # A\n    x  # B\n    + y  # C\n    # D\n))  # E"),
    case("behind its comma", THIRD, "y = third(\n    x,  # A\n)  # B"),
    case("in the test of an `if`", THIRD, "if third(  # A\n    x): pass  # B"),
    case("in the test of an `elif`", THIRD, "if x: pass  # A\nelif third(  # B\n    x): pass  # C"),
    case("in a later `elif`", THIRD, "if x: pass\nelif y: pass\nelif third(  # A\n    x): pass\nelse: pass  # B"),
    case("in the test of a loop", THIRD, "while third(  # A\n    x): pass  # B"),
    case("in a guard of a case", THIRD, "match x:\n    # A\n    case y if third(  # B\n        x): pass  # C"),
    case("in an exception", THIRD, "try: pass  # A\nexcept third(  # B\n    x): pass  # C"),
    case("in a decorator", THIRD, "@third(  # A\n    x)  # B\n# C\ndef inner(): pass  # D"),
    case(
        "around keywords", REST, "y = third(  # A\n    x,  # B\n    # C\n    a=1,  # D\n    **y  # E\n    # F\n)  # G"
    ),
]


@pytest.mark.parametrize(("rule", "model"), COMMENTED)
def test_every_comment_stays(converted, rule, model):
    ported = accepted(converted(model, rule))
    compile(ported.code, "port", "exec")
    assert rules_of(ported) == {rule[0]}
    assert not lost_comments(model, ported)
    assert all("  #" in line or line.lstrip().startswith("#") for line in ported.code.split("\n") if "#" in line)


# -- expressions in the place of others

FITS = {
    "an attribute of what is found": (
        "p.a",
        ("x + 1", "-x", "x if y else z", "lambda: x", "not x", "'a' 'b'", "x", "(x, y)"),
    ),
    "an attribute of a number": ("p.a", ("1", "1_000", "0x1f", "1.5", "1j", "-1", "True")),
    "a call": ("p()", ("x or y", "lambda: x", "x.y", "x[0]", "(yield)")),
    "an element": ("p[0]", ("x * y", "[x]", "f'{x}'", "x < y")),
    "a power": ("2 ** p", ("-x", "x ** y", "x * y", "x()")),
    "a base": ("p ** 2", ("-x", "x ** y", "x * y", "1")),
    "a sign": ("-p", ("x + y", "-x", "x ** y", "not x")),
    "a difference": ("p - p", ("x - y", "x + y", "x * y", "x if y else z")),
    "a comparison": ("p < 1", ("x < y", "x or y", "not x", "x + y")),
    "a negation": ("not p", ("x or y", "x < y", "not x", "x if y else z")),
    "a choice": ("p if p else p", ("x if y else z", "lambda: x", "x or y", "(x, y)")),
    "a lambda": ("lambda: p", ("(x, y)", "x if y else z", "lambda: x", "(x := y)")),
    "an argument": ("f(p, a=p)", ("(x, y)", "(i for i in x)", "(x := y)", "x if y else z")),
    "starred arguments": ("f(*p, **p)", ("x + y", "x or y", "x if y else z")),
    "a subscript": ("x[p]", ("(x, y)", "x + y", "(x := y)")),
    "a slice": ("x[p:p]", ("x + y", "x if y else z", "(x := y)", "lambda: x")),
    "a comprehension": ("[p for i in p if p]", ("x or y", "(x, y)", "x if y else z", "lambda: x")),
    "a field of an f-string": (
        "f'{p}'",
        ("x", "x + 1", "lambda: x", "x if y else z", "{x}", "{x: y}", "{i for i in x}"),
    ),
}


@pytest.mark.parametrize(
    ("after", "found"),
    [pytest.param(after, e, id=f"{name}: {e}") for name, (after, every) in FITS.items() for e in every],
)
def test_an_expression_stays_what_it_is_in_its_new_place(converted, after, found):
    code = accepted(
        converted(with_body(f"y = third({found})"), ("third", EXPRESSION, statements("third(p)", after)))
    ).code
    line = next(line for line in code.split("\n") if line.startswith("        y = "))
    assert ast.dump(_only(line)) == ast.dump(_Put(_only(f"y = {found}").value).visit(_only(f"y = {after}")))


def _only(statement: str) -> ast.Assign:
    (function,) = ast.parse(f"def f():\n    {statement.strip()}").body
    return function.body[0]  # type: ignore[attr-defined]


class _Put(ast.NodeTransformer):
    """An expression for every `p`."""

    def __init__(self, value: ast.expr) -> None:
        self._value = value

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._value if node.id == "p" else node


IN_TEXTS = {
    "a string in a string": ("quick(p, 'a')", "f'{third(x)}'"),
    "a string in double quotes": ('quick(p, "a")', 'f"{third(x)}"'),
    "an escape": ("quick(p, '\\n')", 'f"{third(x)}"'),
    "a set": ("{p}", 'f"{third(x)}"'),
    "a dict": ("{p: 1}", 'f"{third(x)}"'),
    "a lambda": ("lambda: p", 'f"{third(x)}"'),
    "a call in a format": ("quick(p)", 'f"{x:>{third(x)}}"'),
}


@pytest.mark.parametrize(("after", "text"), IN_TEXTS.values(), ids=IN_TEXTS)
def test_what_is_put_into_an_f_string_is_a_value_of_it(converted, after, text):
    """Or it is left alone: quotes and braces mean something there."""
    outcome = converted(with_body(f"y = {text}"), ("third", EXPRESSION, statements("third(p)", after)))
    if isinstance(outcome, Ported):
        line = next(line for line in outcome.code.split("\n") if line.startswith("        y = "))
        fields = [n for n in ast.walk(_only(line)) if isinstance(n, ast.FormattedValue)]
        assert len(fields) == len([n for n in ast.walk(_only(f"y = {text}")) if isinstance(n, ast.FormattedValue)])


@pytest.mark.skipif(sys.version_info < (3, 11), reason="no Python yet")
def test_a_starred_subscript_is_no_subscript(converted):
    rule = ("third", EXPRESSION, statements("third[p]", "quick(p)"))
    code = accepted(converted(with_body("y = third[*x]\nz = third[x]"), rule)).code
    assert "y = third[*x]" in code and "z = quick(x)" in code

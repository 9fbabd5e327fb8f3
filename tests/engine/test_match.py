"""When a pattern is the source: two tables, what matches and what must not."""

from __future__ import annotations

from textwrap import dedent, indent

import pytest

from porter.match import PatternMatcher
from porter.tree import Tree, parse
from tests.engine.sources import loaded_rule, write_rule


def body(text: str) -> str:
    return indent(dedent(text).strip(), "    ")


@pytest.fixture
def found(tmp_path):
    """The matches of `before` (its parameters and body) in a function `f(x, y)`."""

    def find(
        parameters: str, before: str, source: str, *, unit: str = "statements", given: str = "x, y", more: str = ""
    ):
        text = f"def before({parameters}):\n{body(before)}\n\n\ndef after({parameters}):\n{body(before)}\n"
        rule = loaded_rule(
            write_rule(tmp_path, text, declaration=f'Rule(edits=(Edit(site="*", unit="{unit}"),){more})')
        )
        parsed = parse(f"def f({given}):\n{body(source)}\n", "source.py")
        assert isinstance(parsed, Tree), parsed
        return PatternMatcher(rule, rule.edits[0].patterns[0], parsed).find(parsed.functions["f"], unit)

    return find


def case(name: str, parameters: str, before: str, source: str, **options):
    return pytest.param(parameters, before, source, options, id=name)


EXPRESSION, FUNCTION, GROUP = {"unit": "expression"}, {"unit": "function"}, {"unit": "expressions"}
LOCALS = "a = p.float()\nb = a * a\nreturn b"

MATCHES = [
    case("a metavariable stands for any expression", "p", "g(p)", "g(x.y[0] + 1)", **EXPRESSION),
    case("a metavariable used twice is the same code twice", "p", "g(p, p)", "g(x.y(1), x.y(1))", **EXPRESSION),
    case("the same code in another layout is the same code", "p", "g(p, p)", "g(x[0], (x [ 0 ]))", **EXPRESSION),
    case("locals may have other names", "p", LOCALS, "u = x.float()\nv = u * u\nreturn v", **FUNCTION),
    case(
        "one source name may stand for two locals in turn",
        "p",
        LOCALS,
        "x = x.float()\nx = x * x\nreturn x",
        **FUNCTION,
    ),
    case(
        "a local may be called as an attribute is",
        "p",
        "d = p.dtype\nreturn d",
        "dtype = x.dtype\nreturn dtype",
        **FUNCTION,
    ),
    case("keywords come in any order", "p", "g(p, a=1, b=2)", "g(x, b=2, a=1)", **EXPRESSION),
    case("`**...` stands for no keywords", "p", "g(p, **...)", "g(x)", **EXPRESSION),
    case("`**...` stands for any keywords", "p", "g(p, **...)", "g(x, a=1, b=y)", **EXPRESSION),
    case("`...` as a value stands for any expression", "p", "g(p, a=...)", "g(x, a=y if x else 0)", **EXPRESSION),
    case("`...` stands for no statement", "p", "a = g(p)\n...\nh(a)", "b = g(x)\nh(b)"),
    case("`...` stands for several statements", "p", "a = g(p)\n...\nh(a)", "b = g(x)\ny = 1\nif y:\n    y = 2\nh(b)"),
    case("statements are found inside a branch", "p", "a = g(p)\nh(a)", "if y:\n    b = g(x)\n    h(b)"),
    case("statements are found inside a loop", "p", "a = g(p)\nh(a)", "for i in y:\n    b = g(i)\n    h(b)"),
    case("statements are found in an exception handler", "p", "h(p)", "try:\n    y()\nexcept E:\n    h(x)"),
    case("an annotated assignment is an assignment", "p", "a = g(p)\nh(a)", "b: int = g(x)\nh(b)"),
    case("a docstring does not count", "p", "return g(p)", '"""What it does."""\nreturn g(x)', **FUNCTION),
    case("comments and blank lines do not count", "p", "a = g(p)\nh(a)", "b = g(x)  # one\n\n# two\nh(b)"),
    case("parentheses do not count", "p", "p + g(p) * 2", "x + ((g((x))) * 2)", **EXPRESSION),
    case("quotes do not count", "p", 'g(p, "name")', "g(x, 'name')", **EXPRESSION),
    case("line breaks do not count", "p", "g(p).h(1)", "(\n    g(x)\n    .h(1)\n)", **EXPRESSION),
    case(
        "an attribute metavariable stands for any attribute",
        "p",
        "self.norm(p)",
        "self.ln_1(x)",
        given="self, x",
        more=', attributes=("norm",)',
        **EXPRESSION,
    ),
    case(
        "`**kwargs` goes by the function's own name for it",
        "p, **kwargs",
        "g(p, **kwargs)",
        "g(x, **rest)",
        given="x, **rest",
    ),
    case("several expressions share what they bind", "p", "g(p)\nh(p)", "y = h(x) + 1\nreturn g(x)", **GROUP),
    case("two occurrences are two matches", "p", "g(p)", "y = g(1)\nreturn g(2)", **EXPRESSION),
]

MISSES = [
    case("other code for the same metavariable", "p", "g(p, p)", "g(x, y)", **EXPRESSION),
    case("the same text, assigned anew in between", "p", "a = g(p)\n...\nb = h(p)", "u = g(x)\nx = 1\nv = h(x)"),
    case(
        "the same text, a loop variable in between",
        "p",
        "a = g(p)\n...\nb = h(p)",
        "u = g(x)\nfor x in y: pass\nv = h(x)",
    ),
    case("the same text, added to in between", "p", "a = g(p)\n...\nb = h(p)", "u = g(x)\nx += 1\nv = h(x)"),
    case("the same text, a walrus in between", "p", "a = g(p)\n...\nb = h(p)", "u = g(x)\ng((x := y))\nv = h(x)"),
    case("the same attribute of another value", "p", "a = g(p)\n...\nb = h(p)", "u = g(x.w)\nx = y\nv = h(x.w)"),
    case("a local renamed in one of its places", "p", LOCALS, "u = x.float()\nv = u * x\nreturn v", **FUNCTION),
    case(
        "two locals that the source has as one",
        "p",
        "a = g(p)\nb = h(p)\nreturn a, b",
        "u = g(x)\nu = h(x)\nreturn u, u",
        **FUNCTION,
    ),
    case(
        "the value of a local before its reassignment",
        "p",
        "a = g(p)\nb = a\na = h(a)\nreturn b, a",
        "u = g(x)\nu = h(u)\nv = u\nreturn v, u",
        **FUNCTION,
    ),
    case(
        "an attribute that a local is called",
        "p",
        "dtype = p.dtype\nreturn p.to(dtype)",
        "d = x.kind\nreturn x.to(d)",
        **FUNCTION,
    ),
    case("another attribute", "p", "p.float()", "x.double()", **EXPRESSION),
    case("another keyword", "p", "g(p, dim=1)", "g(x, axis=1)", **EXPRESSION),
    case("a positional argument for a keyword", "p", "g(p, dim=1)", "g(x, 1)", **EXPRESSION),
    case("a keyword too many", "p", "g(p)", "g(x, dim=1)", **EXPRESSION),
    case("an argument too many", "p", "g(p)", "g(x, y)", **EXPRESSION),
    case("a literal of another type", "p", "p * 1", "x * 1.0", **EXPRESSION),
    case("True is not 1", "p", "g(p, 1)", "g(x, True)", **EXPRESSION),
    case("a sum with its sides changed", "p", "g(p) + p", "x + g(x)", **EXPRESSION),
    case(
        "a product with its sides changed", "p", "self.w * p.to(t)", "x.to(t) * self.w", given="self, x", **EXPRESSION
    ),
    case("a comparison turned round", "p", "p < 1", "1 > x", **EXPRESSION),
    case("a statement more in a whole body", "p", "return g(p)", "y = 1\nreturn g(x)", **FUNCTION),
    case("a statement fewer", "p", "a = g(p)\nh(a)", "b = g(x)"),
    case("statements of two blocks", "p", "a = g(p)\nh(a)", "b = g(x)\nif y:\n    h(b)"),
    case("statements of a nested function", "p", "a = g(p)\nh(a)", "def inner(t):\n    b = g(t)\n    h(b)"),
    case("a function without `**kwargs`", "p, **kwargs", "g(p, **kwargs)", "g(x, **y)"),
    case("a `**` that is not the function's own", "p, **kwargs", "g(p, **kwargs)", "g(x, **y)", given="x, y, **rest"),
    case(
        "two attributes for one attribute metavariable",
        "p",
        "self.norm(p) + self.norm(p)",
        "self.a(x) + self.b(x)",
        given="self, x",
        more=', attributes=("norm",)',
        **EXPRESSION,
    ),
    case("a global that the function assigns", "p", "rotate(p)", "rotate = y\nreturn rotate(x)", **EXPRESSION),
    case("an expression of the group that stands twice", "p", "g(p)\nh(p)", "y = g(x)\nz = g(y)\nreturn h(x)", **GROUP),
    case("expressions of a group over other values", "p", "g(p)\nh(p)", "y = g(x)\nx = 2\nreturn h(x)", **GROUP),
    case("an augmented assignment", "p", "a = g(p)\na = a + 1", "b = g(x)\nb += 1"),
    case("another call in a loop", "p", "for i in p:\n    g(i)", "for i in (x, y):\n    h(i)"),
]

LOOK_ALIKES = [
    case(
        "a parameter is not the global of its name",
        "p",
        "rotate(p)",
        "return rotate(x)",
        given="x, rotate",
        **EXPRESSION,
    ),
    case(
        "a second `**` is a keyword too many",
        "p, **kwargs",
        "g(p, **kwargs)",
        "g(x, **y, **rest)",
        given="x, y, **rest",
    ),
    case("the same text, an element set in between", "p", "a = g(p)\n...\nb = h(p)", "u = g(x)\nx[0] = 1\nv = h(x)"),
    case("the same text, changed in place in between", "p", "a = g(p)\n...\nb = h(p)", "u = g(x)\nx.mul_(2)\nv = h(x)"),
    case("the same text, a lambda's own parameter", "p", "g(p)\nh(p)", "y = g(x)\nreturn (lambda x: h(x))(y)", **GROUP),
    case(
        "the same text, a nested function's parameter",
        "p",
        "g(p)\nh(p)",
        "y = g(x)\ndef inner(x):\n    return h(x)\nreturn inner(y)",
        **GROUP,
    ),
]


@pytest.mark.parametrize(("parameters", "before", "source", "options"), MATCHES)
def test_the_pattern_is_found(found, parameters, before, source, options):
    assert found(parameters, before, source, **options)


@pytest.mark.parametrize(("parameters", "before", "source", "options"), MISSES)
def test_the_pattern_is_not_there(found, parameters, before, source, options):
    assert not found(parameters, before, source, **options)


@pytest.mark.parametrize(("parameters", "before", "source", "options"), LOOK_ALIKES)
def test_what_looks_alike_and_is_another_value(found, parameters, before, source, options):
    assert not found(parameters, before, source, **options)


def test_every_occurrence_of_an_expression_counts(found):
    assert len(found("p", "g(p)", "y = g(1)\nreturn g(g(2))", **EXPRESSION)) == 3


def test_statement_matches_do_not_overlap(found):
    assert len(found("p", "a = g(p)\nb = g(a)", "x = g(x)\nx = g(x)\nx = g(x)\nx = g(x)\nx = g(x)")) == 2


def test_a_gap_takes_as_little_as_it_can(found):
    (match,) = found("p", "a = g(p)\n...\nh(a)", "b = g(x)\ny = 1\nh(b)\nh(b)")
    assert [len(gap) for gap in match.gaps] == [1]


def test_a_rest_keeps_what_it_stands_for(found):
    (match,) = found("p", "g(p, **...)", "g(x, a=1, **y)", **EXPRESSION)
    assert [len(rest) for rest in match.bindings.rests] == [2]


def test_a_rest_keeps_every_double_star(found):
    (match,) = found("p", "g(p, **...)", "g(x, **y, **x)", **EXPRESSION)
    assert [len(rest) for rest in match.bindings.rests] == [2]


def test_a_rest_of_keywords_takes_no_positional_argument(found):
    assert not found("p", "g(p, **...)", "g(x, y)", **EXPRESSION)

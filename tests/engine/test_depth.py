"""Code nested too deep is one located message, wherever it stands; what nests less is ported; nobody waits."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from porter.convert import convert
from porter.diagnostics import Diagnostic, Refused
from porter.rewrite import Ported
from porter.source import load_source
from tests.engine.sources import accepted, free_standing, source_of, write_rule
from tests.engine.test_plan import ANY, FIRST, MODEL, statements

START = MODEL.count("\n") + 3  # the line of what is put behind the model
LONG = 15.0  # seconds of this process, not of the clock: ten times what the slowest case takes


def steps(n: int, head: str) -> str:
    """Blocks inside blocks, each indented by one blank."""
    return "".join(f"{' ' * i}{head.format(i)}:\n" for i in range(n)) + " " * n + "pass"


Made = Callable[[int], str]
NESTED: dict[str, Made] = {
    "a sum": lambda n: "x = " + " + ".join(["y"] * n),
    "signs": lambda n: "x = " + "-" * n + "y",
    "`not`": lambda n: "x = " + "not " * n + "y",
    "`and`": lambda n: "x = " + " and ".join(["y"] * n),
    "`or` of `and`": lambda n: "x = " + " or ".join(["y and z"] * n),
    "attributes": lambda n: "x = y" + ".a" * n,
    "calls": lambda n: "x = y" + "()" * n,
    "calls of methods": lambda n: "x = y" + ".a()" * (n // 2),
    "subscripts": lambda n: "x = y" + "[0]" * n,
    "powers": lambda n: "x = " + " ** ".join(["y"] * n),
    "ternaries": lambda n: "x = " + "a if b else " * n + "c",
    "lambdas": lambda n: "x = " + "lambda: " * n + "c",
    "`for` of a comprehension": lambda n: "x = [y" + " for a in b" * n + "]",
    "literals in a row": lambda n: "x = " + '"a" ' * n,
    "literals without blanks": lambda n: "x = " + "\"\"''" * (n // 2),
    "literals on lines of their own": lambda n: "x = (" + '\n    "a"' * n + "\n)",
    "f-strings in a row": lambda n: "x = " + 'f"a{y}" ' * n,
    "signs in an f-string": lambda n: 'x = f"{' + "-" * n + 'y}"',
    "`elif`": lambda n: "if y:\n    pass\n" + "elif y:\n    pass\n" * n,
    "a dotted import": lambda n: "import " + ".".join(["a"] * n),
    "a dotted module": lambda n: "from " + ".".join(["a"] * n) + " import b",
    "a dotted decorator": lambda n: "@d" + ".a" * n + "\ndef f(): pass",
    "a dotted pattern": lambda n: "match x:\n    case a" + ".b" * n + ":\n        pass",
}
LITERALS_ON_TWO_LINES = "x = ({}\n    'b')"  # the last line is short
BRACKETED: dict[str, Made] = {  # Python itself stops at 200 brackets and at 100 indentations
    "parentheses": lambda n: "x = " + "(" * n + "y" + ")" * n,
    "lists": lambda n: "x = " + "[" * n + "y" + "]" * n,
    "subscripts of subscripts": lambda n: "x = " + "y[a." * n + "z" + "]" * n,
    "walrus": lambda n: "x = " + "(a := " * n + "c" + ")" * n,
    "sequence patterns": lambda n: "match x:\n    case " + "[" * n + "y" + "]" * n + ":\n        pass",
    "functions": lambda n: steps(n, "def f{}()"),
    "classes": lambda n: steps(n, "class C{}"),
    "`if`": lambda n: steps(n, "if y"),
    "`with`": lambda n: steps(n, "with y"),
}
FLAT: dict[str, Made] = {
    "comparisons": lambda n: "x = " + " < ".join(["y"] * n),
    "decorators": lambda n: "@d\n" * n + "def f(): pass",
    "fields of an f-string": lambda n: 'x = f"' + "{y}" * n + '"',
    "conditions of a comprehension": lambda n: "x = [y for a in b" + " if c" * n + "]",
    "items of `with`": lambda n: "with " + ", ".join(["x"] * min(n, 15)) + ":\n    pass",  # Python takes no 20
    "alternatives of a pattern": lambda n: "match x:\n    case " + " | ".join(["1"] * n) + ":\n        pass",
    "cases": lambda n: "match x:\n" + "    case 1:\n        pass\n" * n,
    "handlers": lambda n: "try:\n    pass\n" + "except E:\n    pass\n" * n,
    "targets": lambda n: "a = " * n + "1",
    "elements": lambda n: "x = [" + "*y, " * n + "]",
    "statements on a line": lambda n: "x = 1; " * n,
}


@pytest.fixture
def converted(tmp_path):
    """The outcome for the model with code behind it, by one rule; it comes in time and leaves the limit as it was."""

    def run(code: str = "", *rules: tuple[str, str, str], model: str = MODEL, **files: str) -> Ported | Refused:
        for name, declaration, functions in rules or (FIRST,):
            write_rule(tmp_path / "rules", functions, name, declaration)
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(text)
        (tmp_path / "modeling_tiny.py").write_text(f"{model}\n\n{code}\n" if code else model)
        limit, began = sys.getrecursionlimit(), time.process_time()
        source = load_source(str(tmp_path / "modeling_tiny.py"))
        assert not isinstance(source, Refused)
        outcome = convert(source, name="tiny", rules_directory=tmp_path / "rules")
        assert sys.getrecursionlimit() == limit and time.process_time() - began < LONG
        return outcome

    return run


def refusal(outcome: Ported | Refused) -> Diagnostic:
    assert isinstance(outcome, Refused)
    (diagnostic,) = outcome.diagnostics
    assert diagnostic.code in ("P011", "P014") and diagnostic.span is not None and diagnostic.help
    return diagnostic


def is_inside(line: int, code: str, start: int = START) -> bool:
    return start <= line <= start + code.count("\n")


@pytest.mark.parametrize("made", NESTED.values(), ids=NESTED)
def test_what_nests_some_hundred_levels_deep_is_ported(converted, made):
    code = made(250)
    assert code in accepted(converted(code)).code


@pytest.mark.parametrize("count", [400, 3_000, 20_000])
@pytest.mark.parametrize("made", NESTED.values(), ids=NESTED)
def test_what_nests_deeper_is_one_located_message(converted, made, count):
    code = made(count)
    assert is_inside(refusal(converted(code)).span.line, code)


@pytest.mark.parametrize("count", [400, 1_000, 3_000, 20_000])
def test_many_literals_of_which_the_last_stands_on_a_line_of_its_own(converted, count):
    code = LITERALS_ON_TWO_LINES.format(" 'a'" * count)
    assert is_inside(refusal(converted(code)).span.line, code)


@pytest.mark.parametrize("count", [250, 400, 3_000])
@pytest.mark.parametrize("made", BRACKETED.values(), ids=BRACKETED)
def test_what_python_itself_finds_too_deep_is_its_own_message(converted, made, count):
    code = made(count)
    diagnostic = refusal(converted(code))
    assert diagnostic.code == "P011" and is_inside(diagnostic.span.line, code)


@pytest.mark.parametrize("made", FLAT.values(), ids=FLAT)
def test_what_is_long_and_not_deep_is_ported(converted, made):
    code = made(2_000)
    assert code in accepted(converted(code)).code


@pytest.mark.parametrize("count", [3_000, 20_000])
@pytest.mark.parametrize("name", ["a sum", "`elif`", "signs in an f-string", "literals in a row"])
def test_the_place_is_the_deep_statement_and_not_the_longest(converted, name, count):
    table = f"TABLE = [{', '.join(['1'] * 2 * count)}]\n"
    assert refusal(converted(table + NESTED[name](count))).span.line == START + 1


def test_the_place_of_a_deep_statement_in_a_function_is_its_own(converted):
    code = f"def f():\n    y = 1\n    if y:\n        {NESTED['a sum'](400)}\n    return y"
    assert refusal(converted(code)).span.line == START + 3


# -- beside the source


BESIDE = ("a sum", "`not`", "`elif`", "literals in a row", "attributes", "a dotted import")


@pytest.mark.parametrize("count", [400, 3_000, 20_000])
@pytest.mark.parametrize("name", BESIDE)
def test_a_rule_file_that_nests_too_deep_is_the_one_that_is_named(converted, tmp_path, name, count):
    kind, declaration, functions = FIRST
    diagnostic = refusal(converted("", (kind, declaration, f"{functions}\n\n{NESTED[name](count)}\n")))
    path, head = tmp_path / "rules" / "one.py", (tmp_path / "rules" / "one.py").read_text()
    start = head[: head.index(NESTED[name](count))].count("\n") + 1
    assert Path(diagnostic.span.path) == path and is_inside(diagnostic.span.line, NESTED[name](count), start)


@pytest.mark.parametrize("count", [250, 400, 3_000, 20_000])
@pytest.mark.parametrize("name", BESIDE)
def test_a_configuration_that_nests_deep_is_no_crash(converted, name, count):
    outcome = converted("", configuration_tiny=f"class TinyConfig:\n    size = 1\n\n\n{NESTED[name](count)}\n")
    assert isinstance(outcome, Ported) or is_inside(refusal(outcome).span.line, NESTED[name](count), 5)


@pytest.mark.parametrize("count", [250, 400, 3_000, 20_000])
@pytest.mark.parametrize("name", BESIDE)
def test_a_file_beside_the_source_that_nests_deep_goes_along_or_is_refused(converted, name, count):
    outcome = converted("from . import parts", parts=f"{NESTED[name](count)}\n")
    if isinstance(outcome, Ported):
        assert [sibling.name for sibling in outcome.source.siblings] == ["parts.py"]
    else:
        assert is_inside(refusal(outcome).span.line, NESTED[name](count), 1)


# -- what a rule matches


HOLES = ("a sum", "attributes", "calls", "subscripts", "ternaries", "literals in a row", "lambdas")


@pytest.mark.parametrize("name", HOLES)
def test_a_deep_expression_is_put_in_again_as_it_was(converted, name):
    deep = NESTED[name](250).removeprefix("x = ").strip()
    ported = accepted(converted(model=MODEL.replace("first(x)", f"first(\n            {deep}\n        )")))
    assert f"        x = fast({deep})\n" in ported.code


@pytest.mark.parametrize("name", HOLES)
def test_a_deep_pattern_is_found_where_it_is(converted, name):
    deep = NESTED[name](250).strip()
    rule = ("one", ANY, statements(deep, "x = fast(3)"))
    assert "        x = fast(3)\n" in accepted(converted("", rule, model=MODEL.replace("x = first(x)", deep))).code


# -- where the caller stands


def called_from(depth: int, work: Callable[[], object]) -> object:
    return work() if depth == 0 else called_from(depth - 1, work)


@pytest.mark.parametrize("depth", [0, 500, 900])
def test_a_conversion_deep_inside_somebody_elses_recursion(depth):
    source, before = source_of("llama"), sys.getrecursionlimit()
    outcome = called_from(depth, lambda: convert(source, name="llama"))
    assert isinstance(outcome, Ported) and sys.getrecursionlimit() == before


@pytest.mark.parametrize("text", [MODEL + "\n\nx = (", MODEL + "\n\n" + NESTED["a sum"](3_000)])
def test_a_refusal_leaves_the_limit_as_it_was(text):
    before = sys.getrecursionlimit()
    assert isinstance(convert(free_standing(text), name="tiny"), Refused)
    assert sys.getrecursionlimit() == before

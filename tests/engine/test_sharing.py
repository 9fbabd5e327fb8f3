"""What several rewrites share, or one puts inside another: names, loops, brackets, what `...` stands for."""

from __future__ import annotations

import textwrap

import pytest

from porter.convert import convert
from porter.diagnostics import Refused
from porter.rewrite import Ported
from tests.engine.sources import accepted, free_standing, rules_of, write_rule
from tests.engine.test_plan import ANY, EXPRESSION, MODEL, statements

RETURN = "        return softmax(self.q(x) + self.k(third(x)))\n"
BODY = f"        x = first(x)\n        x = second(x)\n{RETURN}"
PRIVATE = 'Rule(edits=(Edit(site="attention.forward", unit="statements", private=("y",)),))'
HIDES = ("hides", PRIVATE, statements("y = first(p)", "y = other(p)"))


@pytest.fixture
def converted(tmp_path):
    """The port of MODEL with an attention that does `lines`, by rules."""

    def run(lines: str, *rules: tuple[str, str, str], above: str = "") -> Ported | Refused:
        body = textwrap.indent(lines, " " * 8) + "\n"
        model = MODEL.replace(BODY, body + RETURN.replace("third(x)", "x"))
        assert model != MODEL
        model = model.replace("class Norm(", f"{above}class Norm(")
        compile(model, "model", "exec")
        for name, declaration, functions in rules:
            write_rule(tmp_path / "rules", functions, name, declaration)
        return convert(free_standing(model), name="tiny", rules_directory=tmp_path / "rules")

    return run


def test_an_import_that_new_code_in_two_functions_uses_stays_when_one_of_them_goes(converted):
    above = "import torch.nn.functional as F\n\n\ndef helper(x):\n    return F.gelu(third(x))\n\n\n"
    rules = (
        ("calls", EXPRESSION, statements("helper(p)", "p.neg()")),
        ("inner", EXPRESSION, statements("third(p)", "F.silu(p)")),
    )
    code = accepted(converted("z = helper(x)\nx = third(z)", *rules, above=above)).code
    assert "def helper" not in code
    assert "x = F.silu(z)" in code and "import torch.nn.functional as F\n" in code


def test_a_value_over_two_lines_keeps_its_brackets_when_another_rule_wrote_it(converted):
    rules = (
        ("outer", ANY, statements("z = first(p)", "z = p")),
        ("inner", EXPRESSION, statements("second(p)", "(\n        p\n        * third(p)\n    )")),
    )
    ported = accepted(converted("z = first(second(x))", *rules))
    compile(ported.code, "port", "exec")
    assert rules_of(ported) == {"outer", "inner"}


STRAY = {
    "added to": "y = first(x)\ny += 1\nx = second(y)",
    "read behind a comprehension of its name": "y = first(x)\nq = [y for y in range(3)]\nx = second(y)",
    "read behind a lambda of its name": "y = first(x)\nq = lambda y: y\nx = second(y)",
    "a default of a lambda": "y = first(x)\nq = lambda t, y=y: y\nx = q(x)",
    "a default of a function": "y = first(x)\ndef q(t=y):\n    return t\nx = q()",
    "read in the next round of a loop": "y = x\nfor i in x:\n    x = second(y)\n    y = first(x)",
    "read in the next round of an outer loop": "y = x\nwhile x:\n    x = second(y)\n    for i in x: y = first(x)",
}


@pytest.mark.parametrize("lines", STRAY.values(), ids=STRAY)
def test_a_private_value_that_is_read_elsewhere_keeps_the_rule_away(converted, lines):
    outcome = converted(lines, HIDES, ("third", EXPRESSION, statements("softmax(p)", "fused(p)")))
    assert rules_of(accepted(outcome)) == {"third"}


@pytest.mark.parametrize("lines", ["y = first(x)\nx = [y for y in x]", "y = first(x)\nx = second(x)\ny = x + 1\nx = y"])
def test_another_value_of_the_same_name_does_not(converted, lines):
    assert rules_of(accepted(converted(lines, HIDES))) == {"hides"}


def test_a_metavariable_that_is_assigned_again_is_the_source_s_name(converted):
    rule = ("again", ANY, statements("z = first(p)", "p = third(p)\n    z = second(p)"))
    code = accepted(converted("w = x\nz = first(w)", rule)).code
    assert "        w = third(w)\n        z = second(w)\n" in code


@pytest.mark.parametrize(("text", "taken"), [("x[..., :2]", True), ("x[0, :2]", False), ("x[y, :2]", False)])
def test_dots_in_a_subscript_are_what_python_means_by_them(converted, text, taken):
    ported = converted(f"y = 1\nx = first({text})", ("dots", EXPRESSION, statements("first(p[..., :2])", "fast(p)")))
    assert isinstance(ported, Refused) is not taken


def test_what_dots_stand_for_comes_back_in_the_order_of_the_text(converted):
    before = "if p.a:\n        ...\n        z = first(p, **...)"
    rule = ("order", ANY, statements(before, before.replace("first", "fast")))
    code = accepted(converted("if x.a:\n    y = 1\n    z = first(x, k=2)", rule)).code
    assert "            y = 1\n            z = fast(x, k=2)\n" in code


def test_brackets_that_stood_for_a_blank_stay(converted):
    code = accepted(converted("if x: return(x, 1)", ("pair", EXPRESSION, statements("(p, 1)", "p")))).code
    compile(code, "port", "exec")
    assert "return(x)" in code


def test_an_f_string_with_a_width_of_the_source_s(converted):
    rule = ("width", EXPRESSION, statements("first(p)", 'f"{3:{p}}"'))
    assert 'f"{3:{x}}"' in accepted(converted("x = first(x)", rule)).code

"""Optional parts of a pattern: each spelling with and without them is matched, filled and proved, and no other."""

from __future__ import annotations

from itertools import product

import libcst as cst
import pytest

from porter.convert import convert
from porter.diagnostics import Refused
from porter.rewrite import Ported
from porter.rulebook import load_rule
from porter.rulebook.optional import parts_of, spellings, without
from tests.engine.sources import accepted, free_standing, write_rule
from tests.engine.test_plan import MODEL

RULE = """def before(self, x, c):
    y = first(x)
    ...
    with maybe:
        y = self.norm(y)
    with maybe:
        if maybe(c):
            ...
            y = turn(y)
    ...
    z = last(y, scale=maybe)


def after(self, x, c):
    y = fast(x)
    ...
    with maybe:
        y = self.norm(y)
    with maybe:
        if maybe(c):
            ...
            y = turn(y, fast=True)
    ...
    z = last(y)
"""
NORM, TURN = ["y = self.norm(y)"], ["y = turn(y)"]
CONDITION = ["if self.turns:", "    a = 1", "    y = turn(y)"]
KEYWORDS = ["", ", scale=2"]


def function(text: str) -> cst.FunctionDef:
    (node,) = cst.parse_module(text).body
    assert isinstance(node, cst.FunctionDef)
    return node


def texts(text: str) -> list[str]:
    before = function(text)
    return [cst.Module([]).code_for_node(without(before, absent)) for absent in spellings(before)]


def model_with(lines: list[str]) -> str:
    body = "\n        ".join(lines)
    return MODEL.replace("x = first(x)\n        x = second(x)", body)


@pytest.fixture
def ported(tmp_path):
    declaration = 'Rule(edits=(Edit(site="attention.forward", private=("y",)),))'

    def run(lines: list[str], rule: str = RULE) -> Ported | Refused:
        write_rule(tmp_path / "rules", rule, "trial", declaration)
        return convert(free_standing(model_with(lines)), name="tiny", rules_directory=tmp_path / "rules")

    return run


@pytest.mark.parametrize(
    ("norm", "turn", "keyword"),
    list(product([[], NORM], [[], TURN, CONDITION], KEYWORDS)),
    ids=lambda part: str(part)[:20],
)
def test_every_spelling_is_matched_and_written_back(ported, norm, turn, keyword):
    lines = ["y = first(x)", "b = 2", *norm, *turn, f"z = last(y{keyword})"]
    code = accepted(ported(lines)).code
    assert "y = fast(x)" in code and "z = last(y)" in code and "b = 2" in code
    assert ("y = self.norm(y)" in code) == bool(norm)
    assert ("turn(y, fast=True)" in code) == bool(turn) and "turn(y)" not in code
    assert ("if self.turns:" in code) == ("a = 1" in code) == (turn is CONDITION)
    compile(code, "port", "exec")


@pytest.mark.parametrize(
    "lines",
    [
        ["y = first(x)", *TURN, *NORM, "z = last(y)"],
        ["y = first(x)", *NORM, *NORM, "z = last(y)"],
        ["y = first(x)", "y = other(y)", "z = last(y)"],
        ["y = first(x)", "if self.turns:", "    y = self.norm(y)", "z = last(y)"],
        ["y = first(x)", *CONDITION, "else:", "    y = x", "z = last(y)"],
        ["y = first(x)", "w = look(y)", *TURN, "z = last(y)"],
        ["y = first(x)", "if self.turns:", "    w = look(y)", "    y = turn(y)", "z = last(y)"],
        ["y = first(x)", "z = last(y, other=2)"],
        ["y = first(x)", *NORM, "w = look(y)", "z = last(y)"],
    ],
    ids=["turned first", "normed twice", "another step", "a norm under a condition", "an else", "read between",
         "read under the condition",
         "another keyword", "read before the end"],
)  # fmt: skip
def test_no_other_spelling_is_matched(ported, lines):
    assert isinstance(ported(lines), Refused)


def test_the_shortest_spelling_comes_first_and_each_comes_once():
    found = texts(RULE.split("\n\n\n")[0])
    assert len(found) == len(set(found)) == 6
    assert "norm" not in found[0] and "turn" not in found[0]
    assert "maybe:" not in "".join(found) and "maybe(" not in "".join(found)
    assert found[-1].count("...") == 3 and "if c:" in found[-1]


def test_a_block_that_opens_with_a_gap_joins_the_gap_above_it():
    found = texts("def before(x):\n    a = 1\n    ...\n    if maybe(x):\n        ...\n        b = 2\n")
    assert found[0].count("...") == 1 and found[1].count("...") == 2


def test_parts_inside_parts_are_numbered_in_the_order_of_the_text():
    parts = parts_of(function(RULE.split("\n\n\n")[0]))
    assert [type(part) for part in parts] == [cst.With, cst.With, cst.If]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("    with maybe:\n        y = self.norm(y)\n    with maybe:\n        if maybe(c):\n            ...\n"
         "            y = turn(y, fast=True)\n", "    ...\n", "has 3 optional parts"),
        ("    z = last(y, scale=maybe)", "    with maybe:\n        x = more(x)\n" * 4, "7 optional parts"),
    ],
    ids=["one side only", "too many"],
)  # fmt: skip
def test_what_cannot_be_is_said_when_the_rule_is_read(tmp_path, old, new, says):
    assert old in RULE
    path = write_rule(tmp_path, RULE.replace(old, new), "trial", 'Rule(edits=(Edit(site="*", private=("y",)),))')
    refused = load_rule(path)
    assert isinstance(refused, Refused) and says in refused.diagnostics[0].message


def test_a_requirement_of_a_part_that_is_not_there_is_none(tmp_path):
    declaration = 'Rule(edits=(Edit(site="attention.forward", private=("y",)),), attributes=("q_norm",)'
    declaration += ', requires={"q_norm": "norm"})'
    rule = RULE.replace("self.norm", "self.q_norm")
    norm = "def before(p):\n    return torch.rsqrt(p)\n\n\ndef after(p):\n    return fast(p)\n"

    def status(lines: list[str], *rules: str) -> str:
        write_rule(tmp_path / "rules", rule, "trial", declaration)
        write_rule(
            tmp_path / "rules",
            norm,
            "norms",
            f'Rule(edits=(Edit(site="norm.{rules[0]}", unit="function", answers=("norm",)),))',
        )
        outcome = accepted(convert(free_standing(model_with(lines)), name="tiny", rules_directory=tmp_path / "rules"))
        return next(site for site in outcome.sites if site.kind == "attention").status

    assert status(["y = first(x)", *NORM, "z = last(y)"], "forward") == "ported"
    assert status(["y = first(x)", "z = last(y)"], "forward") == "ported"
    layer = "def before(self, p):\n    return self.attn(p)\n\n\ndef after(self, p):\n    return fast(p)\n"
    write_rule(tmp_path / "rules", layer, "layers", 'Rule(edits=(Edit(site="layer.forward"),))')
    assert status(["y = first(x)", "z = last(y)"], "other") == "ported"
    assert status(["y = first(x)", *NORM, "z = last(y)"], "other") == "left"

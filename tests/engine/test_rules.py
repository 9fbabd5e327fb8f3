"""Rule files: what one declares, and each way to get one wrong is one message with its place in the rule file."""

from __future__ import annotations

from pathlib import Path

import pytest

from porter.diagnostics import Refused
from porter.report.diagnostic import render
from porter.rulebook import load_rule, load_rules
from porter.shipped import shipped
from tests.engine.sources import convert_text, text_of

GOOD = '''"""One rule"""
rule = Rule(edits=(Edit(site="*", unit="statements"),))


def before(self, x):
    y = f(x)


def after(self, x):
    y = g(x)
'''


def edited(*pairs: tuple[str, str]) -> str:
    text = GOOD
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return text


def broken(name: str, text: str, line: int, says: str):
    return pytest.param(text, line, says, id=name)


BROKEN = [
    broken("a syntax error", edited(("def after(", "def after")), 9, "not valid Python"),
    broken(
        "no rule at all",
        edited(('rule = Rule(edits=(Edit(site="*", unit="statements"),))', "other = 1")),
        1,
        "`rule = Rule(...)`",
    ),
    broken("no docstring", edited(('"""One rule"""\n', "")), 1, "docstring"),
    broken("no before", edited(("def before(", "def behind(")), 2, "no function `before`"),
    broken("no after", edited(("def after(", "def afterwards(")), 5, "`before` has no `after`"),
    broken(
        "no before of a named edit",
        edited(('site="*", unit="statements"', '"init", site="*"')),
        2,
        "no function `before_init`",
    ),
    broken("a gap in one side only", edited(("    y = f(x)", "    y = f(x)\n    ...")), 10, "1 top-level `...`"),
    broken("a local that the after drops", edited(("    y = g(x)", "    z = g(x)")), 9, "assigns y"),
    broken("an unknown unit", edited(('"statements"', '"statement"')), 2, "unit is `statement`"),
    broken("an unknown field", edited(('site="*"', 'place="*"')), 2, "place"),
    broken("a declaration that computes", edited(('site="*"', "site=str(1)")), 2, "literals only"),
    broken(
        "two statements for one expression",
        edited(('"statements"', '"expression"'), ("    y = f(x)", "    f(x)\n    f(x)")),
        10,
        "an expression edit is one expression",
    ),
    broken(
        "an unknown rule to supersede",
        edited(("),))", '),), supersedes=("nrom",))')),
        1,
        "no rule `nrom`",
    ),
    broken(
        "an unknown rule to require",
        edited(("),))", '),), requires={"norm": "nrom"})')),
        1,
        "no rule `nrom`",
    ),
]


def folder_with(tmp_path: Path, text: str) -> Path:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "trial.py").write_text(text)
    return tmp_path / "rules"


def test_the_rule_that_the_broken_ones_are_made_of_loads(tmp_path):
    (rule,) = load_rules(folder_with(tmp_path, GOOD))
    assert (rule.name, rule.summary, rule.path) == ("trial", "One rule", "rules/trial.py")


@pytest.mark.parametrize(("text", "line", "says"), BROKEN)
def test_a_broken_rule_is_one_message_with_its_place(tmp_path, text, line, says):
    refused = load_rules(folder_with(tmp_path, text))
    assert isinstance(refused, Refused)
    (diagnostic,) = refused.diagnostics
    shown = render(diagnostic)
    assert says in shown and diagnostic.help
    assert diagnostic.span is not None and diagnostic.span.path.endswith("rules/trial.py"), shown
    assert diagnostic.span.line == line, shown


WRONG = [
    broken(
        "an after that uses a metavariable the before has not",
        edited(("def after(self, x)", "def after(self, x, z)"), ("g(x)", "g(z)")),
        9,
        "z",
    ),
    broken(
        "expressions that are fewer behind than before",
        edited(('"statements"', '"expressions"'), ("    y = f(x)", "    f(x)\n    h(x)"), ("    y = g(x)", "    g(x)")),
        10,
        "expressions",
    ),
    broken("an expression edit of a statement", edited(('"statements"', '"expression"')), 5, "expression"),
    broken("an unknown role", edited(('site="*"', 'site="atention.forward"')), 2, "atention"),
]


@pytest.mark.parametrize(("text", "line", "says"), WRONG)
def test_a_fault_is_found_when_the_rule_is_read(tmp_path, text, line, says):
    refused = load_rules(folder_with(tmp_path, text))
    assert isinstance(refused, Refused)
    assert says in render(refused.diagnostics[0])


def test_a_file_with_nothing_but_a_comment_has_a_place_too(tmp_path):
    refused = load_rules(folder_with(tmp_path, "# a rule to come\n"))
    assert isinstance(refused, Refused) and refused.diagnostics[0].span is not None


def test_bytes_that_are_no_text_are_a_message(tmp_path):
    folder = folder_with(tmp_path, "")
    (folder / "trial.py").write_bytes(b'"""\xff"""\n')
    assert isinstance(load_rules(folder), Refused)


def test_one_broken_rule_refuses_the_conversion(tmp_path):
    refused = convert_text(
        text_of("llama"), rules_directory=folder_with(tmp_path, edited(("def before(", "def behind(")))
    )
    assert isinstance(refused, Refused) and refused.diagnostics[0].code == "P030"


def test_files_with_a_leading_underscore_are_no_rules(tmp_path):
    folder = folder_with(tmp_path, GOOD)
    (folder / "_notes.py").write_text("not python at all !")
    assert [rule.name for rule in load_rules(folder)] == ["trial"]


def test_a_variant_takes_the_after_of_its_own_else_the_plain_one(tmp_path):
    own = "\n\ndef before__own(self, x):\n    y = h(x)\n\n\ndef after__own(self, x):\n    y = k(x)\n"
    plain = "\n\ndef before__plain(self, x):\n    y = m(x)\n"
    (rule,) = load_rules(folder_with(tmp_path, GOOD + own + plain))
    pairs = {pattern.name: pattern.after.name.value for pattern in rule.edits[0].patterns}
    assert pairs == {"before": "after", "before__own": "after__own", "before__plain": "after"}


@pytest.mark.parametrize("path", sorted(shipped("rules").glob("*.py")), ids=lambda path: path.stem)
def test_a_shipped_rule_says_why_what_it_costs_and_what_it_asks(path):
    rule = load_rule(path)
    assert not isinstance(rule, Refused), rule
    for heading in ("Why:", "Numerics:", "Contract:"):
        assert heading in rule.document
    assert rule.summary and "->" in rule.summary


def test_two_open_places_in_one_call_are_a_message(tmp_path):
    text = edited(("f(x)", "f(x, ..., **...)"), ("g(x)", "g(x, ..., **...)"))
    refused = load_rules(folder_with(tmp_path, text))
    assert isinstance(refused, Refused)
    assert "a call of `before` has two `...`" in render(refused.diagnostics[0])

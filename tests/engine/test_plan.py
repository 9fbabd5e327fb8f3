"""Who has what: rules that meet, rules that need each other, and what nothing calls any more once they have it."""

from __future__ import annotations

import pytest

from porter.convert import convert
from porter.diagnostics import Refused
from porter.report.diagnostic import render
from porter.rewrite import Ported
from tests.engine.sources import accepted, free_standing, rules_of, write_rule

MODEL = """import torch
from torch import nn
from transformers import PreTrainedModel

from fast_ops import *


class Norm(nn.Module):
    def forward(self, x):
        return torch.rsqrt(x)


class Attention(nn.Module):
    def __init__(self):
        self.q = nn.Linear(1, 1)
        self.k = nn.Linear(1, 1)
        self.norm = Norm()

    def forward(self, x):
        x = first(x)
        x = second(x)
        return softmax(self.q(x) + self.k(third(x)))


class Layer(nn.Module):
    def __init__(self):
        self.attn = Attention()

    def forward(self, x):
        return self.attn(x)


class TinyForCausalLM(PreTrainedModel):
    def __init__(self):
        self.layers = nn.ModuleList([Layer()])

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x
"""


@pytest.fixture
def converted(tmp_path):
    """MODEL converted by rules given as (name, declaration, functions)."""

    def run(*rules: tuple[str, str, str], model: str = MODEL) -> Ported | Refused:
        for name, declaration, functions in rules:
            write_rule(tmp_path / "rules", functions, name, declaration)
        return convert(free_standing(model), name="tiny", rules_directory=tmp_path / "rules")

    return run


def statements(old: str, new: str, parameters: str = "p") -> str:
    return f"def before({parameters}):\n    {old}\n\n\ndef after({parameters}):\n    {new}\n"


ANY = 'Rule(edits=(Edit(site="*", unit="statements"),))'
EXPRESSION = 'Rule(edits=(Edit(site="*", unit="expression"),))'
FIRST = ("one", ANY, statements("x = first(p)", "x = fast(p)"))
BOTH = ("two", ANY, statements("x = first(p)\n    x = second(x)", "x = both(p)"))


def test_two_rules_that_want_the_same_code_are_an_error_that_names_both(converted):
    refused = converted(FIRST, BOTH)
    assert isinstance(refused, Refused)
    (diagnostic,) = refused.diagnostics
    shown = render(diagnostic, MODEL)
    assert diagnostic.code == "P201" and diagnostic.span.line == 20
    assert "`one`" in shown and "`two`" in shown and "rules/one.py:7" in shown and "rules/two.py:7" in shown
    assert "        x = first(x)" in shown


def test_the_rule_that_names_the_other_has_the_code(converted):
    name, _, functions = BOTH
    ported = accepted(
        converted(FIRST, (name, 'Rule(edits=(Edit(site="*", unit="statements"),), supersedes=("one",))', functions))
    )
    assert "x = both(x)" in ported.code and rules_of(ported) == {"two"}


def test_the_same_statement_in_another_function_is_no_overlap(converted):
    ported = accepted(converted(FIRST, ("two", EXPRESSION, statements("third(p)", "fast3(p)"))))
    assert "fast(x)" in ported.code and "fast3(x)" in ported.code


def test_a_match_inside_what_a_metavariable_stands_for_is_rewritten_too(converted):
    outer = ("outer", EXPRESSION, statements("softmax(p)", "fused(p)"))
    inner = ("inner", EXPRESSION, statements("third(p)", "quick(p)"))
    ported = accepted(converted(outer, inner))
    assert "return fused(self.q(x) + self.k(quick(x)))" in ported.code


def test_a_rule_may_match_inside_its_own_metavariable(converted):
    nested = MODEL.replace("third(x)", "third(third(x))")
    ported = accepted(converted(("again", EXPRESSION, statements("third(p)", "quick(p, 3)")), model=nested))
    assert "self.k(quick(quick(x, 3), 3))" in ported.code


def test_a_rule_on_demand_is_not_applied_for_itself(converted):
    alone = ("one", 'Rule(edits=(Edit(site="*", unit="statements"),), on_demand=True)', FIRST[2])
    other = ("other", EXPRESSION, statements("third(p)", "quick(p)"))
    assert rules_of(accepted(converted(alone, other))) == {"other"}


NEEDS = 'Rule(edits=(Edit(site="attention.forward", unit="statements"),), attributes=("norm",)'
NEEDS += ', requires={"norm": "needed"})'
NORMED = MODEL.replace("x = second(x)", "x = self.norm(x)")
NEEDY = ("needy", NEEDS, statements("x = self.norm(p)", "x = self.norm(p, 1)", "self, p"))
NEEDED = (
    "needed",
    'Rule(edits=(Edit(site="*.forward", unit="function"),), on_demand=True)',
    statements("return torch.rsqrt(p)", "return fast_rsqrt(p)", "self, p"),
)


def test_a_rule_that_is_needed_comes_with_the_one_that_needs_it(converted):
    ported = accepted(converted(NEEDY, NEEDED, model=NORMED))
    assert rules_of(ported) == {"needy", "needed"} and "fast_rsqrt(x)" in ported.code


def test_a_rule_whose_need_is_not_met_is_not_applied(converted):
    ported = accepted(converted(NEEDY, NEEDED, FIRST, model=NORMED.replace("rsqrt(x)", "rsqrt(x) * 2")))
    assert rules_of(ported) == {"one"} and "self.norm(x, 1)" not in ported.code


HELPER = """        return self._norm(x)

    def _norm(self, x):
        return torch.rsqrt(x)
"""
NAMED = '\n    def other(self, x):\n        return getattr(self, "_norm")(x)\n'


@pytest.mark.parametrize(
    ("more", "stays"),
    [
        pytest.param("", False, id="that nothing calls any more goes"),
        pytest.param(
            NAMED,
            True,
            id="that a string still names stays",
        ),
        pytest.param(NAMED.replace('getattr(self, "_norm")', "self._norm"), True, id="that a method still calls stays"),
    ],
)
def test_a_private_method(converted, more, stays):
    model = MODEL.replace("        return torch.rsqrt(x)\n", HELPER + more)
    body = "def before(self, p):\n    return self._norm(p)\n\n\ndef after(self, p):\n    return fused(p)\n"
    ported = accepted(converted(("one", 'Rule(edits=(Edit(site="*.forward", unit="function"),))', body), model=model))
    assert ("def _norm" in ported.code) is stays


def test_a_hook_that_calls_its_base_by_its_own_name_stays(converted):
    hook = "    def _init_weights(self, module):\n        super()._init_weights(module)\n"
    body = "def before(self, p):\n    return torch.rsqrt(p)\n\n\ndef after(self, p):\n    return fused(p)\n"
    ported = accepted(
        converted(("one", 'Rule(edits=(Edit(site="norm.forward", unit="function"),))', body), model=MODEL + "\n" + hook)
    )
    assert "def _init_weights" in ported.code

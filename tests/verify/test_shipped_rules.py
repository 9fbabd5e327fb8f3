"""Every rule that comes with porter proves what it says: few draws here, all of them by `porter prove`."""

import pytest

from porter.diagnostics import Refused
from porter.rulebook import load_rules
from porter.shipped import shipped
from porter.verify.prove import prove_rule

DRAWS = 16
RULES = load_rules(shipped("rules"), proving=True)
assert not isinstance(RULES, Refused)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_shipped_rule_is_proved(rule):
    proof = prove_rule(rule, seeds=DRAWS)
    assert proof.passed, proof.detail

"""Every rule that comes with porter proves what it says: few draws here, all of them by `porter prove`."""

import pytest

from porter.diagnostics import Refused
from porter.rulebook import load_rules
from porter.shipped import shipped
from porter.verify.prove import prove

DRAWS = 16
RULES = load_rules(shipped("rules"))
assert not isinstance(RULES, Refused)


@pytest.mark.parametrize("name", [rule.name for rule in RULES])
def test_a_shipped_rule_is_proved(name):
    (proof,) = prove((name,), seeds=DRAWS)
    assert proof.passed, proof.detail

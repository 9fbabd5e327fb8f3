"""What a port does not heed is listed once a class, whichever rules took it away."""

from __future__ import annotations

import ast
from dataclasses import replace
from types import SimpleNamespace

from porter.convert import inspect
from tests.engine.sources import port_of, source_of


def test_rules_that_take_from_one_class_make_one_entry():
    plan = inspect(source_of("llama")).plan
    taken = ({"B": frozenset("y"), "A": frozenset("ba")}, {"A": frozenset("ac")}, {})
    made = replace(plan, applications=tuple(SimpleNamespace(unheeded=each) for each in taken))
    assert made.unheeded == {"A": ("a", "b", "c"), "B": ("y",)}


def test_a_port_lists_the_activation_and_no_part_of_a_merge():
    (base,) = (n for n in ast.parse(port_of("llama").code).body if getattr(n, "name", "") == "LlamaPreTrainedModel")
    (value,) = (n.value for n in base.body if isinstance(n, ast.Assign) and n.targets[0].id == "unheeded")
    assert ast.literal_eval(value) == {"LlamaMLP": ("act_fn",)}

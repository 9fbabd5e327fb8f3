"""Any change of one node of a function that attention relies on keeps the rule away: tried on Llama's own functions."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import libcst as cst
from hypothesis import given, settings
from hypothesis import strategies as st

from porter.convert import Inspection, inspect
from porter.tree import parse
from porter.tree.functions import body_of, statements
from tests.engine.sources import rules, source_of, text_of

FUNCTIONS = ("rotate_half", "apply_rotary_pos_emb", "repeat_kv", "eager_attention_forward")
OPERATORS = {cst.Add: cst.Subtract, cst.Subtract: cst.Add, cst.Multiply: cst.Divide, cst.FloorDivide: cst.Multiply}
COMPARED = {cst.IsNot: cst.Is, cst.Equal: cst.NotEqual}


@cache
def attention_rule():
    return tuple(rule for rule in rules() if rule.name == "attention")


def takes_attention(text: str) -> bool:
    inspection = inspect(replace(source_of("llama"), text=text), rules=attention_rule())
    assert isinstance(inspection, Inspection), inspection
    return any(application.rule.name == "attention" for application in inspection.plan.applications)


def changed(node: cst.CSTNode) -> list[cst.CSTNode | cst.RemovalSentinel]:
    """Other nodes that could stand in the place of one."""
    if isinstance(node, cst.Name):
        return [node.with_changes(value="other")]
    if isinstance(node, cst.Attribute):
        return [node.with_changes(attr=cst.Name("other")), node.value]
    if isinstance(node, cst.Integer):
        return [cst.Integer(str(int(node.value) + 1)), cst.Float(f"{node.value}.0")]
    if isinstance(node, (cst.BinaryOperation, cst.UnaryOperation)):
        kind = OPERATORS.get(type(node.operator))
        inner = [node.left, node.right] if isinstance(node, cst.BinaryOperation) else [node.expression]
        return [*inner, *([node.with_changes(operator=kind())] if kind else [])]
    if isinstance(node, cst.ComparisonTarget):
        return [node.with_changes(operator=COMPARED[type(node.operator)]())]
    if isinstance(node, cst.Call):
        fewer = [node.with_changes(args=node.args[:-1])] if node.args else []
        by_position = len(node.args) > 1 and all(argument.keyword is None for argument in node.args)
        turned = [node.with_changes(args=node.args[::-1])] if by_position else []
        return [*fewer, *turned, cst.Call(cst.Name("other"), [cst.Arg(node)])]
    if isinstance(node, (cst.Tuple, cst.Subscript)):
        name = "elements" if isinstance(node, cst.Tuple) else "slice"
        parts = getattr(node, name)
        said = [cst.Module([]).code_for_node(part).strip(" ,") for part in parts]
        return [node.with_changes(**{name: parts[::-1]})] if said != said[::-1] else []
    if isinstance(node, cst.SimpleStatementLine):
        twice = cst.FlattenSentinel([node, node])
        return [cst.RemoveFromParent(), twice] if not isinstance(node.body[0], cst.Return) else []
    return []


class Sites(cst.CSTVisitor):
    """Every change of every node of the body, without annotations and the docstring."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[cst.CSTNode, object]] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.Annotation):
            return False
        self.found += [(node, other) for other in changed(node)]
        return True


class Put(cst.CSTTransformer):
    def __init__(self, old: cst.CSTNode, new: object) -> None:
        super().__init__()
        self.old, self.new = old, new

    def on_leave(self, original: cst.CSTNode, updated: cst.CSTNode):  # type: ignore[override]
        return self.new if original is self.old else updated


@cache
def mutations() -> tuple[tuple[str, str], ...]:
    """Texts of Llama's file with one change of one function: what was changed, the text."""
    tree = parse(text_of("llama"), "llama")
    found = []
    for name in FUNCTIONS:
        function = tree.functions[name]
        own = tree.module.code_for_node(function)
        assert tree.text.count(own) == 1
        sites = Sites()
        for statement in statements_with_lines(function):
            statement.visit(sites)
        for old, new in sites.found:
            try:
                other = tree.module.code_for_node(function.visit(Put(old, new)))
                compile(other, name, "exec")
            except Exception:  # a change that makes no program
                continue
            if other != own:
                shown = "" if isinstance(new, cst.RemovalSentinel) else type(new).__name__
                named = f"{name}: {cst.Module([]).code_for_node(old).strip()} {shown}"
                found.append((named, tree.text.replace(own, other)))
    return tuple(found)


def statements_with_lines(function: cst.FunctionDef) -> list[cst.CSTNode]:
    first = 1 if len(statements(function.body)) > len(body_of(function)) else 0
    return list(function.body.body[first:])


def test_there_are_changes_of_every_function():
    kinds = {name.split(":")[0] for name, _ in mutations()}
    assert kinds == set(FUNCTIONS) and len(mutations()) > 200


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.integers(0, 10**6))
def test_one_changed_node_keeps_the_rule_away(number):
    name, text = mutations()[number % len(mutations())]
    assert not takes_attention(text), name


def test_the_functions_as_they_are_take_the_rule():
    assert takes_attention(text_of("llama"))

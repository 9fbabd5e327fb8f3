"""What must hold beside a match: how the module defines a function, what the configuration says by default."""

from __future__ import annotations

import libcst as cst

from porter.match.bindings import Match
from porter.match.decorators import HUB_DECORATORS
from porter.match.patterns import PatternMatcher
from porter.match.subject import Subject
from porter.rulebook import LoadedRule, Pattern
from porter.tree import Function
from porter.tree.names import dotted


def is_given(rule: LoadedRule, site: str, subject: Subject) -> bool:
    """Each `given_<name>` is how the module defines that function, under its own parameters' names, and once."""
    for name, patterns in rule.given.items():
        function = subject.tree.functions.get(name)
        is_plain = function is not None and subject.tree.module_bindings[name] == 1
        if function is None or not is_plain or not _defined_as(function, rule, patterns, subject):
            reason = f"the module does not define `{name}` as {patterns[0].place} asks"
            subject.fail(rule, site, reason, function)
            return False
    return True


def _defined_as(function: Function, rule: LoadedRule, patterns: tuple[Pattern, ...], subject: Subject) -> bool:
    for item in function.decorators:
        called = item.decorator.func if isinstance(item.decorator, cst.Call) else item.decorator
        if dotted(called) not in HUB_DECORATORS:
            return False
    for pattern in patterns:
        for match in PatternMatcher(rule, pattern, subject.tree).find(function, "function"):
            bound = match.bindings.metas.items()
            if all(isinstance(node, cst.Name) and node.value == name for name, node in bound):
                return True
    return False


def is_guarded(rule: LoadedRule, site: str, match: Match, subject: Subject) -> bool:
    """Each guarded metavariable is bound to a value that has, by default, one of the values the rule allows."""
    for name, allowed in rule.declared.guards.items():
        node = match.bindings.metas.get(name)
        if node is None:
            continue
        value = subject.defaults.value_of(node)
        if value not in allowed:
            shown = "unknown" if value is None else repr(value)
            needs = " or ".join(map(repr, allowed))
            reason = f"`{subject.tree.code(node)}` is {shown} by default, the rule needs {needs}"
            subject.fail(rule, site, reason, node)
            return False
    return True

"""What a match relies on without replacing it: functions that it calls, each defined as a rule's `given_*` has it.

A `given_<function>` is checked where the code that matched names that function, or where no pattern of the rule does;
and what a `given_*` calls in turn is checked where the function it describes is defined. A function is as given where
its body matches, its parameters stand where the given's do (those behind `*` are taken by name), a default that the
given has is its own, and nothing wraps it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import libcst as cst

from porter.match.bindings import Match, Miss
from porter.match.decorators import is_hub_decorator
from porter.match.definitions import Definition
from porter.match.patterns import PatternMatcher
from porter.match.same import same_constant
from porter.match.subject import Subject
from porter.rulebook import LoadedRule, Pattern
from porter.tree import Function, Node, Tree
from porter.tree.functions import parameters_of, positional
from porter.tree.values import is_constant


@dataclass(frozen=True)
class Unmet:
    """Why a function is not what the rule takes it for; the code at fault where it is of the searched module."""

    reason: str
    node: Node | None = None


def unmet(rule: LoadedRule, match: Match, subject: Subject) -> Unmet | None:
    """The first function that the match relies on and that is not as the rule has it; None where all are."""
    for name, called in {**dict.fromkeys(rule.demanded), **match.bindings.relied}.items():
        found = _unmet(rule, name, called or name, subject.tree, subject)
        if found is not None:
            return found
    return None


def _unmet(rule: LoadedRule, name: str, called: str, tree: Tree, subject: Subject) -> Unmet | None:
    key = (rule.name, name, called, id(tree))
    if key not in subject.relied:
        subject.relied[key] = None  # a function that calls itself does not hang on itself
        subject.relied[key] = _find_unmet(rule, name, called, tree, subject)
    return subject.relied[key]


def _find_unmet(rule: LoadedRule, name: str, called: str, tree: Tree, subject: Subject) -> Unmet | None:
    definition = subject.definitions.of(called, tree)
    patterns = rule.given[name]
    if isinstance(definition, str):
        return Unmet(f"the rule relies on `{called}`: {definition}", _binding(called, tree, subject))
    function = definition.node
    if not isinstance(function, cst.FunctionDef):
        return Unmet(f"`{called}` is a class, and the rule relies on a function", _binding(called, tree, subject))
    inner: Unmet | None = None
    deepest: Miss | None = None
    for pattern in patterns:
        matcher = PatternMatcher(rule, pattern, definition.tree)
        found = matcher.find(function, "function")
        fault = _other_signature(pattern, found[0], definition) if found else None
        if found and fault is None:
            faults = (_unmet(rule, *item, definition.tree, subject) for item in found[0].bindings.relied.items())
            inner = next((fault for fault in faults if fault is not None), None)
            if inner is None:
                return None
        elif fault is not None:
            inner = inner or Unmet(
                _says(called, definition, pattern, fault), _here(function, definition, called, subject)
            )
        if matcher.miss and (deepest is None or matcher.miss.depth > deepest.depth):
            deepest = matcher.miss
    if inner is not None or not subject.every:
        return inner or Unmet("")  # nobody asks why
    assert deepest is not None
    return _miss(called, definition, deepest, subject)


def _miss(called: str, definition: Definition, miss: Miss, subject: Subject) -> Unmet:
    file = miss.pattern.file
    whole = miss.expected is miss.pattern.before
    expected = "nothing more is asked for" if whole else f"`{file.statement_code(miss.expected)}` is asked for"
    found = f"it ends where {expected}"
    if miss.found is not None:
        found = f"line {definition.tree.line(miss.found)} says `{definition.tree.statement_code(miss.found)}`"
    fault = found if miss.found is None else f"{found} where {expected}"
    reason = _says(called, definition, miss.pattern, fault)
    return Unmet(reason, _here(miss.found or definition.node, definition, called, subject))


def _says(called: str, definition: Definition, pattern: Pattern, fault: str) -> str:
    return f"`{called}` ({definition.place}) is not the function of {pattern.place}: {fault}"


def _here(node: Node, definition: Definition, called: str, subject: Subject) -> Node | None:
    """A node of the searched module to point at: the code at fault, or the import that it comes by."""
    return node if definition.tree is subject.tree else _binding(called, subject.tree, subject)


def _binding(called: str, tree: Tree, subject: Subject) -> Node | None:
    root = called.split(".")[0]
    if tree is not subject.tree:
        return None
    return tree.functions.get(root) or (tree.imports[root].node if root in tree.imports else None)


def _other_signature(pattern: Pattern, match: Match, definition: Definition) -> str | None:
    """What differs though the body matches: a wrapper, the order of parameters, a default; None for nothing."""
    function, tree = definition.node, definition.tree
    assert isinstance(function, cst.FunctionDef)
    if function.asynchronous is not None:
        return "it is asynchronous"
    for decorator in function.decorators:
        if not is_hub_decorator(decorator, tree):
            return f"`@{tree.code(decorator.decorator)}` wraps it"
    for wanted, found in _pairs(pattern.before, function):
        if found is None:
            return f"it has no parameter in the place of `{wanted.name.value}`"
        bound = match.bindings.metas.get(wanted.name.value)
        is_it = bound is None or (isinstance(bound, cst.Name) and bound.value == found.name.value)
        if not is_it or (bound is not None and tree.versions.get(bound, 0) > 0):
            return f"`{tree.code(bound) if bound else ''}` stands for its parameter `{found.name.value}`"
        if wanted.default is not None and not _same_default(wanted.default, found.default):
            return f"`{found.name.value}` is `{pattern.file.code(wanted.default)}` by default there, and not here"
    return None


def _pairs(given: Function, function: Function) -> Iterator[tuple[cst.Param, cst.Param | None]]:
    """Parameters of the given with those of the function: by position, and by name those behind `*`."""
    found = positional(function)
    for number, parameter in enumerate(positional(given)):
        yield parameter, found[number] if number < len(found) else None
    by_name = {parameter.name.value: parameter for parameter in parameters_of(function)}
    for parameter in given.params.kwonly_params:
        yield parameter, by_name.get(parameter.name.value)


def _same_default(one: Node, other: Node | None) -> bool:
    return other is not None and is_constant(one) and is_constant(other) and same_constant(one, other)

"""One edit at one place: the first pattern that matches under the rule's conditions, or the deepest miss."""

from __future__ import annotations

from porter.match.bindings import Bindings
from porter.match.conditions import is_given, is_guarded
from porter.match.found import Failure, Hit
from porter.match.patterns import PatternMatcher
from porter.match.subject import Place, Subject
from porter.rulebook import LoadedEdit, LoadedRule


def hits_at(rule: LoadedRule, loaded: LoadedEdit, place: Place, start: Bindings, subject: Subject) -> list[Hit]:
    """The hits of an edit, with what the edits before it bound; where there are none, the failure is remembered."""
    if subject.is_kept(place):
        return []
    unit = loaded.edit.unit
    deepest = None
    hits: list[Hit] = []
    for pattern in loaded.patterns:
        matcher = PatternMatcher(rule, pattern, subject.tree)
        matches = matcher.find(place.function, unit, start)
        if matches and not is_given(rule, place.site, subject):
            return []
        matches = [match for match in matches if is_guarded(rule, place.site, match, subject)]
        hits += [Hit(loaded.edit, place.site, place.owner, match) for match in matches]
        if hits and unit != "expression":
            return hits
        if matcher.miss and (deepest is None or matcher.miss.depth > deepest.depth):
            deepest = matcher.miss
    if not hits and deepest is not None and (deepest.depth or unit == "function"):
        subject.failures.append(Failure(rule, place.site, miss=deepest))
    return hits


def would_match(rule: LoadedRule, loaded: LoadedEdit, place: Place, subject: Subject) -> bool:
    """Whether the code alone would match, whatever the conditions say."""
    matchers = (PatternMatcher(rule, pattern, subject.tree) for pattern in loaded.patterns)
    return any(matcher.find(place.function, loaded.edit.unit) for matcher in matchers)

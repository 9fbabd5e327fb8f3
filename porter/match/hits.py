"""One edit at one place: the first pattern that matches under the rule's conditions, or the deepest miss."""

from __future__ import annotations

from porter.match.bindings import Bindings, Match
from porter.match.conditions import exchanged_parameter, is_guarded
from porter.match.found import Failure, Hit
from porter.match.patterns import PatternMatcher
from porter.match.relied import unmet
from porter.match.soundness.check import Found
from porter.match.soundness.values import used_by_what_stays
from porter.match.subject import Place, Subject
from porter.rulebook import LoadedEdit, LoadedRule


def hits_at(rule: LoadedRule, loaded: LoadedEdit, place: Place, start: Bindings, subject: Subject) -> list[Hit]:
    """The hits of an edit, with what the edits before it bound; where there are none, the failure is remembered."""
    if subject.is_kept(place):
        return []
    unit = loaded.edit.unit
    deepest = None
    hits: list[Hit] = []
    in_use: Found = None  # why a spelling without some part is not the one that is there
    for pattern, words in zip(loaded.patterns, loaded.words, strict=True):
        if not subject.may_hold([words], place.function):
            continue
        matcher = PatternMatcher(rule, pattern, subject.tree)
        matches = matcher.find(place.function, unit, start)
        for match in (match for match in matches if _may(rule, loaded, place, match, subject)):
            hit = Hit(loaded.edit, place.site, place.owner, match)
            fault = used_by_what_stays(hit, subject.tree) if pattern.absent else None
            if fault is None:
                hits.append(hit)
            in_use = in_use or fault
        if hits and unit != "expression":
            return hits
        if matcher.miss and (deepest is None or matcher.miss.depth > deepest.depth):
            deepest = matcher.miss
    if not hits and in_use is not None:
        subject.fail(rule, place.site, *in_use)
    elif not hits and deepest is not None and (deepest.depth or unit == "function"):
        subject.failures.append(Failure(rule, place.site, miss=deepest))
    return hits


def _may(rule: LoadedRule, loaded: LoadedEdit, place: Place, match: Match, subject: Subject) -> bool:
    """Whether what the match relies on is what the rule takes it for."""
    fault = unmet(rule, match, subject)
    if fault is not None:
        subject.fail(rule, place.site, fault.reason, fault.node, guarded=True)
        return False
    exchanged = exchanged_parameter(match, subject.tree)
    if exchanged is not None:
        reason = f"`{subject.tree.code(exchanged)}` is not the function's parameter as it came in"
        subject.fail(rule, place.site, reason, exchanged)
        return False
    return is_guarded(rule, loaded, place, match, subject)


def would_match(rule: LoadedRule, loaded: LoadedEdit, place: Place, subject: Subject) -> bool:
    """Whether the code alone would match, whatever the conditions say."""
    matchers = (PatternMatcher(rule, pattern, subject.tree) for pattern in loaded.patterns)
    return any(matcher.find(place.function, loaded.edit.unit) for matcher in matchers)

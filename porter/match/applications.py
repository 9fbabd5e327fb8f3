"""One rule in one module: every application of it, all its edits or none."""

from __future__ import annotations

from collections.abc import Iterator

from porter.match.bindings import Bindings
from porter.match.found import Application, Hit
from porter.match.hits import hits_at, would_match
from porter.match.soundness.callers import unreached_user
from porter.match.subject import Subject, is_sparse
from porter.rulebook import LoadedRule
from porter.rulebook.faults import is_of_pytorch


def applications_of(rule: LoadedRule, subject: Subject) -> Iterator[Application]:
    """One edit for itself, the edits of one class together, or of the whole module."""
    present = sorted(subject.names_reached & set(rule.declared.absent)) if rule.declared.absent else []
    if present:
        subject.fail_everywhere(rule, f"the model uses `{present[0]}`, which the rule cannot carry over")
    elif rule.is_of_module:
        yield from _of_module(rule, subject)
    elif len(rule.edits) == 1:
        for place in subject.places(rule.edits[0].edit.site):
            for hit in hits_at(rule, rule.edits[0], place, Bindings(), subject):
                yield _application(rule, [hit], hit.match.bindings.attributes)
    else:
        yield from _of_classes(rule, subject)


def application_in(rule: LoadedRule, cls: str, subject: Subject) -> Application | None:
    """The rule with each of its edits once in one class."""
    hits: list[Hit] = []
    shared = Bindings()
    for loaded in rule.edits:
        places = [place for place in subject.places(loaded.edit.site) if place.owner == cls]
        found = [hit for place in places for hit in hits_at(rule, loaded, place, shared, subject)]
        if len(found) != 1:
            return None
        hits += found
        shared = Bindings(attributes=found[0].match.bindings.attributes)
    return _application(rule, hits, shared.attributes)


def is_class_of(rule: LoadedRule, cls: str, subject: Subject) -> bool:
    """Whether a rule is about a class that the file does not define, by its last name there."""
    site = rule.declared.edits[0].site
    return is_of_pytorch(site) and cls not in subject.tree.classes and subject.made.get(cls) == {site}


def _of_classes(rule: LoadedRule, subject: Subject) -> Iterator[Application]:
    by_owner = [{p.owner: p for p in reversed(subject.places(loaded.edit.site))} for loaded in rule.edits]
    for first in subject.places(rule.edits[0].edit.site):
        hits: list[Hit] = []
        shared = Bindings()
        for loaded, places in zip(rule.edits, by_owner, strict=True):
            there = places.get(first.owner)
            found = hits_at(rule, loaded, there, shared, subject) if there else []
            if len(found) != 1:
                if there is None:
                    subject.fail(rule, first.site, f"no `{loaded.edit.site}` in `{first.owner}`")
                elif found:
                    subject.fail(rule, first.site, f"`{loaded.edit.name}` matches twice")
                elif there.site != first.site:
                    _explain(rule, first.site, there.site, subject)
                break
            hits += found
            shared = Bindings(attributes=found[0].match.bindings.attributes)
        else:
            yield _application(rule, hits, shared.attributes)


def _of_module(rule: LoadedRule, subject: Subject) -> Iterator[Application]:
    hits: list[Hit] = []
    shared = Bindings()
    for loaded in rule.edits:
        found_any = False
        for place in subject.places(loaded.edit.site):
            found = hits_at(rule, loaded, place, shared, subject)
            if subject.is_kept(place) and would_match(rule, loaded, place, subject):
                subject.fail_everywhere(rule, f"`{place.site}` is kept, and the rule changes it with the others")
                return
            if not found and not is_sparse(loaded.edit):
                reason = f"`{place.site}` does not match `{loaded.patterns[0].name}`"
                subject.fail_everywhere(rule, reason, skip=place.site)
                return
            found_any = found_any or bool(found)
            hits += found
            if found:
                shared = Bindings(attributes=found[-1].match.bindings.attributes)
        if not found_any:
            subject.fail_everywhere(rule, f"nothing in the module matches `{loaded.patterns[0].name}`")
            return
    stray = unreached_user(hits, subject.tree, subject.anatomy)
    if stray is None:
        yield _application(rule, hits, shared.attributes)
    else:
        subject.fail_everywhere(rule, stray)


def _application(rule: LoadedRule, hits: list[Hit], attributes: dict[str, str]) -> Application:
    return Application(rule, tuple(hits), tuple(attributes.items()))


def _explain(rule: LoadedRule, site: str, other: str, subject: Subject) -> None:
    """`site` matched, `other`, where the rule must apply too, did not: its reason is this site's reason."""
    reason = subject.first_reasons.get((rule.name, other))
    if reason is None:
        subject.fail(rule, site, f"it matches here but not `{other}`")
    else:
        subject.fail(rule, site, reason.reason, reason.node, guarded=reason.guarded)

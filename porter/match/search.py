"""Find every place where the rules apply: tree x rules -> what a plan is made of, and the failures beside it."""

from __future__ import annotations

from porter.match.applications import application_in, applications_of
from porter.match.found import Application, Findings
from porter.match.soundness import unsound
from porter.match.soundness.merges import broken_merges
from porter.match.subject import Subject
from porter.rulebook import LoadedRule


def search(rules: tuple[LoadedRule, ...], subject: Subject) -> Findings:
    """Every sound application of every rule; what two of them want is settled later."""
    found: list[Application] = []
    by_name = {rule.name: rule for rule in rules}
    demanded: dict[tuple[str, str], Application] = {}
    for rule in rules:
        if rule.declared.on_demand:
            continue
        for application in applications_of(rule, subject):
            needs = _needs(application, by_name, subject)
            if needs is not None and _sound(application, subject):
                found.append(application)
                demanded.update({(need.rule.name, need.hits[0].site): need for need in needs})
    whole = _whole_merges(found, subject)
    return Findings(tuple(whole), tuple(demanded.values()), tuple(subject.failures))


def _needs(application: Application, by_name: dict[str, LoadedRule], subject: Subject) -> list[Application] | None:
    """The on-demand rules an application needs, each found and sound; None when one is not."""
    needs: list[Application] = []
    attributes = dict(application.attributes)
    for attribute, rule_name in application.rule.declared.requires.items():
        name = attributes.get(attribute, attribute)
        classes = _classes_of(application, name, subject)
        rule = by_name.get(rule_name)  # None where it was left out on purpose
        found = [_sound_in(rule, cls, subject) if rule else None for cls in classes]
        missing = next((cls for cls, need in zip(classes, found, strict=True) if need is None), None)
        if missing is not None or not classes:
            reason = f"`{rule_name}` does not take `{missing}.forward`, which `{application.rule.name}` needs"
            if not classes:
                reason = f"the class of `{name}` is not of this file"
            for site in application.sites:
                subject.fail(application.rule, site, reason)
            return None
        needs += [need for need in found if need is not None]
    return needs


def _sound_in(rule: LoadedRule, cls: str, subject: Subject) -> Application | None:
    application = application_in(rule, cls, subject)
    return application if application is not None and _sound(application, subject) else None


def _classes_of(application: Application, attribute: str, subject: Subject) -> list[str]:
    """The classes an attribute of the changed classes, or of those derived from them, may be of."""
    found: dict[str, None] = {}
    for owner in dict.fromkeys(hit.owner for hit in application.hits if hit.owner):
        for cls in (owner, *subject.anatomy.subclasses(owner)):
            member = subject.anatomy.members[cls].get(attribute)
            found.update(dict.fromkeys(member.classes if member else ()))
    return list(found)


def _sound(application: Application, subject: Subject) -> bool:
    fault = unsound(application, subject)
    if fault is None:
        return True
    for site in application.sites:
        subject.fail(application.rule, site, fault.reason, fault.node if site == fault.site else None)
    return False


def _whole_merges(found: list[Application], subject: Subject) -> list[Application]:
    """Without the applications of a rule whose merge would not hold for the whole module."""
    rejected: set[str] = set()
    for rule in {a.rule.name: a.rule for a in found if a.rule.declared.merges}.values():
        mine = [application for application in found if application.rule.name == rule.name]
        for reason, node in broken_merges(rule, mine, subject.tree, subject.anatomy, subject.converted):
            rejected.add(rule.name)
            for hit in (hit for application in mine for hit in application.hits):
                subject.fail(rule, hit.site, reason, node)
    return [application for application in found if application.rule.name not in rejected]

"""Find every place where the rules apply: tree x rules -> what a plan is made of, and the failures beside it."""

from __future__ import annotations

from porter.match.applications import application_in, applications_of, is_class_of
from porter.match.found import Application, Findings
from porter.match.soundness import unsound
from porter.match.soundness.merges import broken_merges
from porter.match.subject import Subject
from porter.rulebook import LoadedRule, Merge
from porter.rulebook.faults import is_of_pytorch


def search(rules: tuple[LoadedRule, ...], subject: Subject) -> Findings:
    """Every sound application of every rule; what two of them want is settled later."""
    found: list[Application] = []
    verdicts: list[Application] = []
    demanded: dict[tuple[str, str], Application] = {}
    for rule in rules:
        if rule.declared.on_demand or not subject.is_worth_trying(rule):
            continue
        for application in applications_of(rule, subject):
            needs = _needs(application, rules, subject)
            if needs is None:
                continue
            if rule.is_verdict:
                verdicts.append(application)
            elif _sound(application, subject):
                found.append(application)
                demanded.update({(need.rule.name, need.hits[0].site): need for need in needs})
    whole = _whole_merges(found, subject)
    of_pytorch = [rule for rule in rules if is_of_pytorch(rule.declared.edits[0].site)]
    elsewhere = {cls: rule for rule in of_pytorch for cls in subject.made if is_class_of(rule, cls, subject)}
    return Findings(tuple(whole), tuple(verdicts), elsewhere, tuple(demanded.values()), tuple(subject.failures))


def _needs(application: Application, rules: tuple[LoadedRule, ...], subject: Subject) -> list[Application] | None:
    """The on-demand rules an application needs, each found and sound; None where a class is not taken as it must be."""
    rule, needs = application.rule, list[Application]()
    attributes = dict(application.attributes)
    for attribute, wanted in rule.declared.requires.items():
        if attribute in rule.declared.attributes and attribute not in attributes:
            continue  # of another spelling
        name = attributes.get(attribute, attribute)
        classes = _classes_of(application, name, subject)
        takers = [other for other in rules if wanted == other.name]  # none where it was left out on purpose
        takers = takers or sorted((r for r in rules if wanted in r.needs), key=lambda r: r.declared.on_demand)
        found = [_taken(takers, cls, subject) for cls in classes]
        missing = next((cls for cls, need in zip(classes, found, strict=True) if need is None), None)
        if missing is not None or not classes:
            reason = f"`{wanted}` does not take `{missing}.forward`, which `{rule.name}` needs"
            if not classes:
                reason = f"the class of `{name}` is not of this file"
            for site in application.sites:
                subject.fail(rule, site, reason)
            return None
        needs += [need for taken in found for need in taken or () if need.rule.declared.on_demand]
    return needs if rule.is_verdict or _has_takers(application, rules, subject) else None


def _has_takers(application: Application, rules: tuple[LoadedRule, ...], subject: Subject) -> bool:
    """Whether every class that takes what the application makes is taken by a rule itself, as it must be."""
    kinds = application.rule.takers
    roles = subject.anatomy.roles
    owners = dict.fromkeys(hit.owner for hit in application.hits if hit.owner)
    holders = (cls for owner in owners for cls, _ in subject.anatomy.holders.get(owner, ()))
    stranger = next((cls for cls in holders if roles.get(cls) not in kinds), None) if kinds else None
    reason = f"`{stranger}` holds it, and is none of {', '.join(kinds)}" if stranger else None
    for kind in kinds:
        takers = [other for other in rules if kind in other.needs]
        classes = [cls for cls, role in roles.items() if role == kind]
        left = next((cls for cls in classes if _taken(takers, cls, subject) is None), None)
        if left is not None or not classes:
            reason = reason or (f"`{left}.forward` is left as it is" if left else f"there is no class of {kind}")
    for site in application.sites if reason else ():
        subject.fail(application.rule, site, reason or "")
    return reason is None


def _taken(rules: list[LoadedRule], cls: str, subject: Subject) -> list[Application] | None:
    """Whether one of the rules takes a class; its application there, where the class is of this file."""
    for rule in rules:
        if is_class_of(rule, cls, subject):
            return []
        application = application_in(rule, cls, subject) if subject.is_worth_trying(rule) else None
        if application is not None and (rule.is_verdict or _sound(application, subject)):
            return [application]
    return None


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
    alike: dict[tuple[str, tuple[Merge, ...]], list[Application]] = {}
    for application in found:
        if application.merges:
            alike.setdefault((application.rule.name, application.merges), []).append(application)
    rejected: set[tuple[str, tuple[Merge, ...]]] = set()
    parts_of: dict[str, tuple[str, ...]] = {}
    for key, mine in alike.items():
        faults = list(broken_merges(mine, subject.tree, subject.anatomy, subject.converted))
        for merged, parts, _ in mine[0].merges:
            if parts_of.setdefault(merged, parts) != parts:
                others = " and ".join(f"`{part}`" for part in parts_of[merged])
                faults.append((f"`{merged}` is what {others} of other classes are merged into", None))
        for reason, node in faults:
            for hit in (hit for application in mine for hit in application.hits):
                subject.fail(mine[0].rule, hit.site, reason, node)
            rejected.add(key)
    return [one for one in found if (one.rule.name, one.merges) not in rejected]

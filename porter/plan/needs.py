"""What sites need: which rules may answer it, what answers it already, and what no rule can answer, and why.

A rule answers needs of the kind of site that it speaks of; one rule is enough for each. A need has a verdict where the
code is right as it is, or where every norm of the class is of a kind for which no op answers that need; of a model
without norms, every norm of its layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from porter.anatomy import Anatomy
from porter.match import Application
from porter.rulebook import LoadedRule

Needs = dict[str, list[LoadedRule]]  # need -> the rules that may answer it


def needs_of(kind: str, rules: Iterable[LoadedRule]) -> Needs:
    """What sites of a kind need, by the rules that speak of them; what is taken on demand is nobody's need."""
    wanted: Needs = {}
    for rule in (rule for rule in rules if not rule.declared.on_demand):
        edits = (edit for edit in rule.declared.edits if edit.site == f"{kind}.forward")
        for need in dict.fromkeys(need for edit in edits for need in edit.answers or rule.needs):
            wanted.setdefault(need, []).append(rule)
    return wanted


def closed_needs(
    anatomy: Anatomy, taken: Iterable[Application], elsewhere: Mapping[str, LoadedRule]
) -> dict[str, dict[str, str]]:
    """Class -> the needs that no rule can answer in it, and why; `elsewhere` are classes of other files with a rule."""
    closing: dict[str, dict[str, str]] = {cls: _closed_by(rule) for cls, rule in elsewhere.items()}
    for application in taken:
        for owner in {hit.owner for hit in application.hits if hit.owner}:
            closing[owner] = {**closing.get(owner, {}), **_closed_by(application.rule)}
    found: dict[str, dict[str, str]] = {}
    for holder in anatomy.members:
        norms = [_merged(closing.get(cls, {}) for cls in kinds) for kinds in _norms_of(holder, anatomy, elsewhere)]
        if norms:
            found[holder] = {need: why for need, why in norms[0].items() if all(need in each for each in norms)}
    return found


def _merged(closing: Iterable[dict[str, str]]) -> dict[str, str]:
    """Of a norm that a configuration makes of one class or another: code that calls it must do for each of them."""
    return {need: why for each in closing for need, why in each.items()}


def _norms_of(holder: str, anatomy: Anatomy, elsewhere: Mapping[str, LoadedRule]) -> list[list[str]]:
    """The norms that a class holds, each as the classes that it may be of; of a model without any, its layers'."""
    members = anatomy.members[holder].values()
    norms: list[list[str]] = []
    for member in members:
        kinds = [cls for cls in member.classes if anatomy.roles.get(cls) == "norm" or cls in elsewhere]
        norms += [[cls] for cls in kinds] if member.is_list else [kinds] if kinds else []
    if norms or anatomy.roles.get(holder) != "model":
        return norms
    layers = dict.fromkeys(cls for m in members for cls in m.classes if anatomy.roles.get(cls) == "layer")
    return [norm for layer in layers for norm in _norms_of(layer, anatomy, elsewhere)]


def _closed_by(rule: LoadedRule) -> dict[str, str]:
    return {need: why for why, needs in rule.declared.closes.items() for need in needs}

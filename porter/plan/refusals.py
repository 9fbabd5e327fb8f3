"""Why nothing is ported after all: sites that are left, no site at all, names that the user gave and nobody knows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from porter.anatomy import Anatomy
from porter.diagnostics import Diagnostic, Refused, nearest
from porter.plan.accounts import SiteReport
from porter.plan.plan import Plan
from porter.plan.reasons import UNKNOWN, explain
from porter.rulebook import LoadedRule


def nothing_to_port(plan: Plan) -> Refused | None:
    """P103, P104: no rule takes any site, or the port would have no base class to load weights with."""
    if not any(plan.rules_at(site.name) for site in plan.anatomy.sites):
        first = next((site for site in plan.anatomy.sites if site.kind != UNKNOWN), None)
        if first is None:
            place = plan.tree.span(plan.tree.classes[plan.anatomy.causal])
            message = f"`{plan.anatomy.causal}` has no layers in this file"
            return Refused((Diagnostic("P103", message, place, help="port the model it wraps"),))
        closest = explain(plan, first)
        return Refused((replace(closest, code="P103", message=f"no rule takes any site of `{plan.anatomy.causal}`"),))
    if not plan.anatomy.pretrained():
        place = plan.tree.span(plan.tree.classes[plan.anatomy.causal])
        message = "the file has no class of its own derived from PreTrainedModel"
        help_text = "a port loads weights through that class: port the file that defines it"
        return Refused((Diagnostic("P104", message, place, help=help_text),))
    return None


def sites_left(plan: Plan, sites: Iterable[SiteReport]) -> Refused | None:
    """P102 for every site that no rule takes whole, P105 for every class that has no role."""
    left = {site.name for site in sites if site.is_left}
    return Refused(tuple(explain(plan, site) for site in plan.anatomy.sites if site.name in left)) if left else None


def rules_unproved(rules: Iterable[LoadedRule]) -> Refused | None:
    """P033, P034: what rules of the user's own lack before their word is taken."""
    lacks = tuple(lack for rule in rules for lack in rule.lacks)
    return Refused(lacks) if lacks else None


def unknown_names(
    keep: Iterable[str], without: Iterable[str], anatomy: Anatomy, rules: Sequence[LoadedRule]
) -> Refused | None:
    """P041, P042: a site or rule that is not there is an error, never a flag without effect."""
    sites = [name for site in anatomy.sites for name in (site.name, site.owner or site.name)]
    for name in keep:
        if name not in sites:
            return _no_such("P041", f"no site `{name}` to keep", name, sites)
    names = [rule.name for rule in rules]
    for name in without:
        if name not in names:
            return _no_such("P042", f"no rule `{name}` to leave out", name, names)
    return None


def _no_such(code: str, message: str, name: str, known: list[str]) -> Refused:
    close = nearest(name, known)
    listed = " or ".join(f"`{item}`" for item in close)
    return Refused((Diagnostic(code, message, help=f"did you mean {listed}?" if close else "see `porter inspect`"),))

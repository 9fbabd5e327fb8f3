"""Why a site is as it is: what became of it by each rule that speaks of its kind, and where rule and source part.

Contract: the plan was made of a search that tried every rule; what is said here decided nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from porter.anatomy import Site
from porter.diagnostics import Diagnostic, Refused, nearest
from porter.match import Failure
from porter.match.bindings import Miss
from porter.plan.plan import Plan
from porter.rulebook import LoadedRule
from porter.tree import Node


@dataclass(frozen=True)
class Fate:
    """What became of a site by one rule.

    outcome: `takes` it or a part of it; `verdict`: it says that the code is right as it is; `matches`, but for a
             reason; `parts` from it at `miss`; `absent`: nothing of it is here.
    node:    the code of the source that the reason or the miss is about.
    """

    rule: LoadedRule
    outcome: str
    reason: str = ""
    miss: Miss | None = None
    node: Node | None = None


def site_named(plan: Plan, name: str) -> Site | Refused:
    """A site by its name, or by that of its class. P041 where there is none."""
    sites = {site.name: site for site in plan.anatomy.sites}
    found = sites.get(name) or sites.get(f"{name}.forward")
    if found is not None:
        return found
    close = " or ".join(f"`{other}`" for other in nearest(name, sites))
    help = f"did you mean {close}?" if close else "see `porter inspect`"
    return Refused((Diagnostic("P041", f"no site `{name}`", help=help),))


def fates(plan: Plan, site: Site) -> tuple[Fate, ...]:
    """By every rule that speaks of such sites: those that say something of it, then those that came closest."""
    takers = set(plan.rules_at(site.name))
    verdicts = {name: why for name, why in plan.verdicts_at(site).values() if name}
    found = []
    for rule in plan.rules:
        failures = _failures(plan, site, rule)
        if rule.name in takers:
            found.append(Fate(rule, "takes"))
        elif rule.name in verdicts:
            found.append(Fate(rule, "verdict", verdicts[rule.name]))
        elif _names(rule, site) or any(_came_some_way(failure) for failure in failures if failure.site == site.name):
            found.append(_fate(rule, failures))
    return tuple(sorted(found, key=_rank))


def _failures(plan: Plan, site: Site, rule: LoadedRule) -> list[Failure]:
    """Those at the site; where there is none, those at other functions of its class, which the rule needs too."""
    own = [failure for failure in plan.failures if failure.rule.name == rule.name]
    here = [failure for failure in own if failure.site == site.name]
    return here or [failure for failure in own if site.owner and failure.site.startswith(f"{site.owner}.")]


def _names(rule: LoadedRule, site: Site) -> bool:
    """Whether an edit of the rule is about this kind of site, by name."""
    kind = "function" if site.owner is None else site.kind
    method = site.name.rpartition(".")[2]
    return any(edit.site in (kind, f"{kind}.{method}") for edit in rule.declared.edits)


def _came_some_way(failure: Failure) -> bool:
    return bool(failure.reason) or (failure.miss is not None and failure.miss.statements[0] > 0)


def _fate(rule: LoadedRule, failures: list[Failure]) -> Fate:
    reasons = [failure for failure in failures if failure.reason]
    if reasons:
        first = min(reasons, key=lambda failure: failure.guarded)
        return Fate(rule, "matches", first.reason, node=first.node)
    misses = [failure.miss for failure in failures if failure.miss is not None]
    if not misses:
        return Fate(rule, "absent")
    deepest = max(misses, key=lambda miss: (miss.statements[0] / max(miss.statements[1], 1), miss.depth))
    return Fate(rule, "parts", miss=deepest, node=deepest.found)


def _rank(fate: Fate) -> tuple[int, float, str]:
    done, total = fate.miss.statements if fate.miss is not None else (0, 1)
    order = ("takes", "verdict", "matches", "parts", "absent")
    return order.index(fate.outcome), -done / max(total, 1), fate.rule.name

"""Plan -> what became of every site, for a person and for the account that a port keeps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from porter.anatomy import Site
from porter.plan.plan import Plan
from porter.plan.reasons import reason_of

_LEFT = ("left", "partly")


@dataclass(frozen=True)
class SiteReport:
    """One site of the anatomy and what became of it."""

    name: str  # "LlamaRMSNorm.forward"
    kind: str  # "norm"
    line: int
    status: str  # "ported", "verdict" (right as it is), "partly" (a need is left), "kept" (on purpose), "left"
    rules: tuple[str, ...]
    reason: str | None

    @property
    def is_left(self) -> bool:
        """Whether it is left as it was, or a need of it is."""
        return self.status in _LEFT


def report_sites(plan: Plan) -> tuple[SiteReport, ...]:
    """Every site, in the order of the anatomy."""
    return tuple(_report(plan, site) for site in _sites(plan))


def is_settled(plan: Plan) -> bool:
    """Whether no site is left, nor a need of one."""
    return not any(_status(plan, site) in _LEFT for site in _sites(plan))


def _sites(plan: Plan) -> Iterator[Site]:
    """The sites there are: of a rotary, where cos and sin are computed once a step, one that no rule trims is none."""
    return (site for site in plan.anatomy.sites if site.kind != "rotary" or plan.rules_at(site.name))


def _status(plan: Plan, site: Site) -> str:
    if {site.name, site.owner or site.name} & set(plan.kept):
        return "kept"
    rules, missing = plan.rules_at(site.name), plan.missing_at(site)
    if missing or not (rules or plan.verdicts_at(site)):
        return "partly" if rules else "left"
    return "ported" if rules else "verdict"


def _report(plan: Plan, site: Site) -> SiteReport:
    rules, status = plan.rules_at(site.name), _status(plan, site)
    reason: str | None = None
    if status == "kept":
        reason = "kept on purpose"
    elif status == "verdict":
        verdicts = plan.verdicts_at(site).values()
        reason = "; ".join(dict.fromkeys(why for _, why in verdicts)) or None
        rules = tuple(dict.fromkeys(name for name, _ in verdicts if name))
    elif status in _LEFT:
        reason = reason_of(plan, site)
    return SiteReport(site.name, site.kind, plan.tree.line(site.node), status, rules, reason)

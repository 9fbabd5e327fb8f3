"""Plan -> what became of every site, for a person and for the account that a port keeps."""

from __future__ import annotations

from dataclasses import dataclass

from porter.anatomy import Site
from porter.plan.plan import Plan
from porter.plan.reasons import reason_of


@dataclass(frozen=True)
class SiteReport:
    """One site of the anatomy and what became of it."""

    name: str  # "LlamaRMSNorm.forward"
    kind: str  # "norm"
    line: int
    status: str  # "ported", "verdict" (right as it is), "partly" (a need is left), "kept" (on purpose), "left"
    rules: tuple[str, ...]
    reason: str | None


def report_sites(plan: Plan) -> tuple[SiteReport, ...]:
    """Every site, in the order of the anatomy."""
    return tuple(report for site in plan.anatomy.sites if (report := _report(plan, site)) is not None)


def _report(plan: Plan, site: Site) -> SiteReport | None:
    rules = plan.rules_at(site.name)
    if site.kind == "rotary" and not rules:
        return None  # cos and sin are computed once a step: a rule may trim them, none has to
    reason: str | None = None
    missing, verdicts = plan.missing_at(site), plan.verdicts_at(site)
    reasons = "; ".join(dict.fromkeys(why for _, why in verdicts.values())) or None
    if {site.name, site.owner or site.name} & set(plan.kept):
        status, reason = "kept", "kept on purpose"
    elif rules and not missing:
        status = "ported"
    elif verdicts and not missing:
        status, reason = "verdict", reasons
        rules = tuple(dict.fromkeys(name for name, _ in verdicts.values() if name))
    else:
        status, reason = "partly" if rules else "left", reason_of(plan, site)
    return SiteReport(site.name, site.kind, plan.tree.line(site.node), status, rules, reason)

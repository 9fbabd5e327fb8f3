"""Findings -> a plan: who has what, what became of every site, why a site was left. Pure data.

Takes:    `Findings` of `match`.
Gives:    a `Plan`, a `SiteReport` for each site, reasons as diagnostics.
Imported: by `rewrite`, and by what shows plans. It needs `match`, never the other way.
"""

from porter.plan.accounts import SiteReport, is_settled, report_sites
from porter.plan.plan import Plan, make_plan
from porter.plan.reasons import explain

__all__ = ["Plan", "SiteReport", "explain", "is_settled", "make_plan", "report_sites"]

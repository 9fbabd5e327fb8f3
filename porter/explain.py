"""Why a site was left alone: the rule that came closest, and where the two part."""

from __future__ import annotations

import ast

from porter.anatomy import Site
from porter.diagnostics import Diagnostic
from porter.plan import Failure, Plan


def reason_of(plan: Plan, site: Site) -> str:
    """One line: why no rule takes `site`."""
    failure = plan.closest(site)
    if failure is None:
        return "no rule speaks of this kind of site"
    if failure.reason:
        return f"{failure.rule.name}: {failure.reason}"
    assert failure.miss is not None
    done, total = failure.miss.statements
    line = getattr(failure.miss.found, "lineno", None)
    place = f" at line {line}" if line else ""
    return f"closest {failure.rule.name}: {done} of {total} statements match, parts{place}"


def explain(plan: Plan, site: Site) -> Diagnostic:
    """P102: no rule matches the site; the caret stands where the closest rule and the source part."""
    failure = plan.closest(site)
    keep = f"write a rule for this spelling, or keep the source's code with `--keep {site.name}`"
    missing = plan.missing_at(site) if plan.rules_at(site.name) else ()
    message = f"no rule matches `{site.name}`"
    if missing:
        message = f"`{site.name}` is ported in part: not by {', '.join(f'`{name}`' for name in missing)}"
    if failure is None:
        return Diagnostic("P102", message, plan.parsed.span(site.function), help=keep)
    node = _place(failure, site)
    label = ""
    notes: tuple[str, ...] = ()
    if failure.reason:
        label = failure.reason
        notes = (f"rule: {failure.rule.path}",)
    elif failure.miss is not None:
        done, total = failure.miss.statements
        expected = ast.unparse(failure.miss.expected).splitlines()[0]
        label = f"expected `{expected}`"
        where = f"{failure.rule.path}:{getattr(failure.miss.expected, 'lineno', 1)}"
        notes = (f"closest: {where} {failure.miss.pattern.name}, {done} of {total} statements match",)
    return Diagnostic("P102", message, plan.parsed.span(node), label, notes, keep)


def _place(failure: Failure, site: Site) -> ast.AST:
    candidates = [failure.node, failure.miss.found if failure.miss else None]
    return next((node for node in candidates if node is not None and hasattr(node, "lineno")), site.function)

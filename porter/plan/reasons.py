"""Why a site was left alone: the rule that came closest, and where the two part."""

from __future__ import annotations

from porter.anatomy import Site
from porter.diagnostics import Diagnostic
from porter.plan.plan import Plan

UNKNOWN = "unknown"  # the kind of a site whose class has no role


def reason_of(plan: Plan, site: Site) -> str:
    """One line: why no rule takes `site`."""
    if site.kind == UNKNOWN:
        where = plan.tree.line(plan.anatomy.unknown[site.owner or site.name])
        if site.owner in plan.tree.classes:
            return f"unknown: built at line {where}, and nothing in its structure says what it is"
        return f"unknown: built at line {where}, defined in another file"
    failure = plan.closest(site)
    if failure is None:
        return "no rule speaks of this kind of site"
    if failure.reason:
        return f"{failure.rule.name}: {failure.reason}"
    assert failure.miss is not None
    done, total = failure.miss.statements
    found = failure.miss.found
    place = f" at line {plan.tree.line(found)}" if found is not None else ""
    return f"closest {failure.rule.name}: {done} of {total} statements match, parts{place}"


def explain(plan: Plan, site: Site) -> Diagnostic:
    """P102: no rule matches the site; the caret stands where the closest rule and the source part.

    P105: the site's class has no role; the caret stands where it is built.
    """
    if site.kind == UNKNOWN:
        return _unknown(plan, site)
    failure = plan.closest(site)
    keep = f"write a rule for this spelling, or keep the source's code with `--keep {site.name}`"
    missing = plan.missing_at(site) if plan.rules_at(site.name) else ()
    message = f"no rule matches `{site.name}`"
    if missing:
        message = f"`{site.name}` is ported in part: not by {', '.join(f'`{name}`' for name in missing)}"
    if failure is None:
        return Diagnostic("P102", message, plan.tree.span(site.node), help=keep)
    node = failure.node or (failure.miss.found if failure.miss else None) or site.node
    label = ""
    notes: tuple[str, ...] = ()
    if failure.reason:
        label = failure.reason
        notes = (f"rule: {failure.rule.path}",)
    elif failure.miss is not None:
        done, total = failure.miss.statements
        pattern, expected = failure.miss.pattern, failure.miss.expected
        label = f"expected `{pattern.code(expected)}`"
        where = f"{pattern.file.display}:{pattern.line(expected)}"
        notes = (f"closest: {where} {pattern.name}, {done} of {total} statements match",)
    return Diagnostic("P102", message, plan.tree.span(node), label, notes, keep)


def _unknown(plan: Plan, site: Site) -> Diagnostic:
    owner = site.owner or site.name
    at = plan.tree.span(plan.anatomy.unknown[owner])
    is_own = owner in plan.tree.classes
    note = f"defined at line {plan.tree.line(plan.tree.classes[owner])}" if is_own else "defined in another file"
    keep = f"look at what it computes; to keep the source's code, say `--keep {owner}`"
    return Diagnostic("P105", f"porter does not know what `{owner}` is", at, "built here", (note,), keep)

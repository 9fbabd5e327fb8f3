"""Findings -> plan: what each rule would change, what was left alone and why. Pure data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from porter.anatomy import Anatomy, Site
from porter.diagnostics import Refused
from porter.match import Application, Failure, Findings
from porter.plan.settle import settle
from porter.rulebook import LoadedRule
from porter.tree import Tree


@dataclass(frozen=True)
class Plan:
    tree: Tree
    anatomy: Anatomy
    rules: tuple[LoadedRule, ...]
    applications: tuple[Application, ...]
    failures: tuple[Failure, ...]
    kept: tuple[str, ...]

    @cached_property
    def _taken(self) -> dict[str, dict[str, None]]:
        """Site -> names of the rules that take a part of it."""
        taken: dict[str, dict[str, None]] = {}
        for application in self.applications:
            for site in application.sites:
                taken.setdefault(site, {})[application.rule.name] = None
        return taken

    @cached_property
    def _failed(self) -> dict[str, list[Failure]]:
        failed: dict[str, list[Failure]] = {}
        for failure in self.failures:
            failed.setdefault(failure.site, []).append(failure)
        return failed

    def rules_at(self, site: str) -> tuple[str, ...]:
        """Names of the rules that take a part of the site or all of it."""
        return tuple(self._taken.get(site, ()))

    def missing_at(self, site: Site) -> tuple[str, ...]:
        """Rules for a piece of such sites that did not take it. Rules for whole functions are alternatives."""
        wanted = f"{site.kind}.forward"
        edits = ((rule, loaded.edit) for rule in self.rules for loaded in rule.edits)
        made_for_it = (rule for rule, edit in edits if edit.site == wanted and edit.unit != "function")
        taken = self.rules_at(site.name)
        return tuple(rule.name for rule in made_for_it if rule.name not in taken)

    def closest(self, site: Site) -> Failure | None:
        """The failure at `site` that says most: a reason in words, else the deepest miss."""
        taken = self.rules_at(site.name)
        failures = [f for f in self._failed.get(site.name, ()) if f.rule.name not in taken]
        reasons = [failure for failure in failures if failure.reason]
        if reasons:
            return reasons[0]
        misses = [f for f in failures if f.miss is not None and not f.rule.declared.on_demand]
        return max((f for f in misses if _speaks_of(f, site)), key=_progress, default=None)


def make_plan(
    findings: Findings, tree: Tree, anatomy: Anatomy, rules: tuple[LoadedRule, ...], kept: tuple[str, ...] = ()
) -> Plan | Refused:
    """Settle who has what. P201 where two rules want the same code and neither supersedes the other."""
    settled = settle((*findings.applications, *findings.demanded), tree)
    if isinstance(settled, Refused):
        return settled
    return Plan(tree, anatomy, rules, settled, findings.failures, kept)


def _speaks_of(failure: Failure, site: Site) -> bool:
    """Whether the rule is for such sites: it names their kind, or a statement of it was found there."""
    assert failure.miss is not None
    kind = "function" if site.owner is None else site.kind
    is_named = any(loaded.edit.site.split(".")[0] == kind for loaded in failure.rule.edits)
    return is_named or failure.miss.statements[0] > 0


def _progress(failure: Failure) -> tuple[float, int]:
    assert failure.miss is not None
    done, total = failure.miss.statements
    return done / max(total, 1), failure.miss.depth

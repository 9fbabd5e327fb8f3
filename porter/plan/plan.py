"""Findings -> plan: what each rule would change, what was left alone and why. Pure data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from porter.anatomy import Anatomy, Site
from porter.diagnostics import Refused
from porter.match import Application, Failure, Findings
from porter.plan.needs import Needs, closed_needs, needs_of
from porter.plan.settle import settle
from porter.rule import Split
from porter.rulebook import LoadedRule
from porter.tree import Tree


@dataclass(frozen=True)
class Plan:
    tree: Tree
    anatomy: Anatomy
    rules: tuple[LoadedRule, ...]
    applications: tuple[Application, ...]
    verdicts: tuple[Application, ...]
    elsewhere: dict[str, LoadedRule]  # classes of PyTorch that a rule is about, by their last name
    failures: tuple[Failure, ...]
    kept: tuple[str, ...]

    @cached_property
    def _taken(self) -> dict[str, dict[str, LoadedRule]]:
        """Site -> the rules that take a part of it, by name."""
        taken: dict[str, dict[str, LoadedRule]] = {}
        for application in self.applications:
            for site in application.sites:
                taken.setdefault(site, {})[application.rule.name] = application.rule
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

    @cached_property
    def _needs(self) -> dict[str, Needs]:
        return {kind: needs_of(kind, self.rules) for kind in dict.fromkeys(site.kind for site in self.anatomy.sites)}

    @cached_property
    def _judged(self) -> dict[str, dict[str, tuple[str, str]]]:
        """Site -> the needs that a verdict is about, the rule that gives it and why."""
        judged: dict[str, dict[str, tuple[str, str]]] = {}
        for application in self.verdicts:
            for hit in application.hits:
                said = (application.rule.name, hit.match.pattern.reason)
                judged.setdefault(hit.site, {}).update(dict.fromkeys(application.rule.needs, said))
        return judged

    @cached_property
    def _closed(self) -> dict[str, dict[str, str]]:
        return closed_needs(self.anatomy, (*self.applications, *self.verdicts), self.elsewhere)

    def verdicts_at(self, site: Site) -> dict[str, tuple[str, str]]:
        """Needs of a site that nothing has to answer or can -> the rule that says so, why."""
        closed = self._closed.get(site.owner or "", {})
        found = {need: ("", why) for need, why in closed.items() if need in self._needs[site.kind]}
        return {**found, **self._judged.get(site.name, {})}

    @cached_property
    def splits(self) -> tuple[tuple[str, str, Split], ...]:
        """Class, attribute, split: how ranks share weights, as rules say that took a class or gave a verdict on it."""
        members = self.anatomy.members
        merged = {name for application in self.applications for name, *_ in application.merges}
        every = (split for each in (*self.applications, *self.verdicts) for split in each.splits)
        return tuple(dict.fromkeys(split for split in every if split[1] in members[split[0]].keys() | merged))

    @cached_property
    def unheeded(self) -> dict[str, tuple[str, ...]]:
        """Class -> what the source sets on its modules and computes with, and the port does not have."""
        found: dict[str, set[str]] = {}
        for application in self.applications:
            for owner, names in application.unheeded.items():
                found.setdefault(owner, set()).update(names)
        return {owner: tuple(sorted(names)) for owner, names in sorted(found.items())}

    @property
    def room(self) -> str:
        """Field of the configuration that says how many tokens the source has room for; `` where none does."""
        return next((found for found in (each.rule.declared.room for each in self.applications) if found), "")

    def missing_at(self, site: Site) -> tuple[str, ...]:
        """Rules that would answer a need of the site that nothing answers."""
        answered = {need for rule in self._taken.get(site.name, {}).values() for need in rule.needs}
        answered |= set(self.verdicts_at(site))
        wanted = self._needs[site.kind].items()
        missing = [rule for need, rules in wanted if need not in answered for rule in rules]
        return tuple(dict.fromkeys(rule.name for rule in missing if not rule.is_verdict))

    def closest(self, site: Site) -> Failure | None:
        """The failure at `site` that says most: a reason in words, of the code before one of a condition, which an
        alternative may be for; else the deepest miss."""
        taken = self.rules_at(site.name)
        failures = [f for f in self._failed.get(site.name, ()) if f.rule.name not in taken]
        reasons = [failure for failure in failures if failure.reason]
        if reasons:
            return min(reasons, key=lambda failure: failure.guarded)
        misses = [f for f in failures if f.miss is not None and not f.rule.declared.on_demand]
        return max((f for f in misses if _speaks_of(f, site)), key=_progress, default=None)


def make_plan(
    findings: Findings, tree: Tree, anatomy: Anatomy, rules: tuple[LoadedRule, ...], kept: tuple[str, ...] = ()
) -> Plan | Refused:
    """Settle who has what. P201 where two rules want the same code and neither supersedes the other."""
    settled = settle((*findings.applications, *findings.demanded), tree)
    if isinstance(settled, Refused):
        return settled
    return Plan(tree, anatomy, rules, settled, findings.verdicts, findings.elsewhere, findings.failures, kept)


def _speaks_of(failure: Failure, site: Site) -> bool:
    """Whether the rule is for such sites: it names their kind; one that names no need, where a statement was found."""
    assert failure.miss is not None
    kind = "function" if site.owner is None else site.kind
    is_named = any(edit.site.split(".")[0] == kind for edit in failure.rule.declared.edits)
    if failure.rule.needs_named:
        return is_named or kind in failure.rule.needs
    return is_named or failure.miss.statements[0] > 0


def _progress(failure: Failure) -> tuple[float, int]:
    assert failure.miss is not None
    done, total = failure.miss.statements
    return done / max(total, 1), failure.miss.depth

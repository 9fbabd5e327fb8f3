"""Tree x rules -> plan: what each rule would change, what was left alone and why. Pure data.

A rule's edits are applied all or none. Where two rules want the same text, the one that names the other in
`supersedes` has it; a match inside what a metavariable bound is rewritten too; any other overlap is an error.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass

from porter.anatomy import Anatomy, Site
from porter.bindings import Match, Miss
from porter.diagnostics import Diagnostic, Refused
from porter.parse import Parsed
from porter.rule import Edit, LoadedRule


@dataclass(frozen=True)
class Hit:
    """One edit's match in one function. `owner` is the class, None for a module function."""

    edit: Edit
    site: str
    owner: str | None
    match: Match

    def ranges(self, parsed: Parsed) -> list[tuple[int, int]]:
        """The byte ranges this edit replaces."""
        if self.match.expressions:
            return [parsed.range(node) for node in self.match.expressions]
        return [_extent(parsed, segment) for segment in self.match.segments if segment]

    def holes(self, parsed: Parsed) -> list[tuple[int, int]]:
        """The byte ranges its metavariables bound: other rules may match inside them."""
        bindings = self.match.bindings
        nodes = [*bindings.metas.values(), *(node for rest in bindings.rests for node in rest)]
        return [parsed.range(node) for node in nodes]


@dataclass(frozen=True)
class Application:
    """One rule, applied once: all its hits."""

    rule: LoadedRule
    hits: tuple[Hit, ...]
    attributes: tuple[tuple[str, str], ...] = ()

    @property
    def sites(self) -> tuple[str, ...]:
        """Where its hits are, each place once."""
        return tuple(dict.fromkeys(hit.site for hit in self.hits))


@dataclass(frozen=True)
class Failure:
    """Why a rule did not apply at a site: a miss (how far it came) or a reason in words."""

    rule: LoadedRule
    site: str
    miss: Miss | None = None
    reason: str = ""
    node: ast.AST | None = None


@dataclass(frozen=True)
class Plan:
    parsed: Parsed
    anatomy: Anatomy
    rules: tuple[LoadedRule, ...]
    applications: tuple[Application, ...]
    failures: tuple[Failure, ...]
    kept: tuple[str, ...]

    def rules_at(self, site: str) -> tuple[str, ...]:
        """Names of the rules that take a part of the site or all of it."""
        return tuple(dict.fromkeys(a.rule.name for a in self.applications if site in a.sites))

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
        failures = [f for f in self.failures if f.site == site.name and f.rule.name not in taken]
        reasons = [failure for failure in failures if failure.reason]
        if reasons:
            return reasons[0]
        misses = [f for f in failures if f.miss is not None and not f.rule.declared.on_demand]
        return max(misses, key=_progress, default=None)


def _progress(failure: Failure) -> tuple[float, int]:
    assert failure.miss is not None
    done, total = failure.miss.statements
    return done / max(total, 1), failure.miss.depth


def _extent(parsed: Parsed, statements: Iterable[ast.stmt]) -> tuple[int, int]:
    listed = list(statements)
    return parsed.range(listed[0])[0], parsed.range(listed[-1])[1]


def settle(
    applications: list[Application], parsed: Parsed
) -> tuple[list[Application], list[tuple[Application, str]]] | Refused:
    """Drop what is superseded; refuse what overlaps. Returns those that stay, and the others with the winner's name."""
    stay: list[Application] = []
    yielded: list[tuple[Application, str]] = []
    for one in applications:
        winner = next((o for o in applications if _supersedes(o, one) and _clash(o, one, parsed)), None)
        if winner is None:
            stay.append(one)
        else:
            yielded.append((one, winner.rule.name))
    for index, first in enumerate(stay):
        for second in stay[index + 1 :]:
            clash = _clash(first, second, parsed)
            if clash is not None:
                return _overlap(first, second, clash, parsed)
    return stay, yielded


def _supersedes(winner: Application, other: Application) -> bool:
    return other.rule.name in winner.rule.declared.supersedes


def _clash(first: Application, second: Application, parsed: Parsed) -> tuple[Hit, Hit] | None:
    for a in first.hits:
        for b in second.hits:
            if a.site != b.site:
                continue
            for one in a.ranges(parsed):
                for other in b.ranges(parsed):
                    if one[0] < other[1] and other[0] < one[1] and not _nested(a, b, one, other, parsed):
                        return a, b
    return None


def _nested(a: Hit, b: Hit, one: tuple[int, int], other: tuple[int, int], parsed: Parsed) -> bool:
    inside_a = any(h[0] <= other[0] and other[1] <= h[1] for h in a.holes(parsed))
    inside_b = any(h[0] <= one[0] and one[1] <= h[1] for h in b.holes(parsed))
    return inside_a or inside_b


def _overlap(first: Application, second: Application, clash: tuple[Hit, Hit], parsed: Parsed) -> Refused:
    a, b = clash
    node = (a.match.expressions or a.match.segments[0])[0]
    message = f"two rules want the same code of `{a.site}`: `{first.rule.name}` and `{second.rule.name}`"
    notes = tuple(
        f"{app.rule.path}:{hit.match.pattern.before.lineno} {hit.match.pattern.name}"
        for app, hit in ((first, a), (second, b))
    )
    help_text = f"leave one out with `--without {second.rule.name}`, or let one name the other in `supersedes`"
    return Refused((Diagnostic("P201", message, parsed.span(node), "both match here", notes, help_text),))

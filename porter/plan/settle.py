"""Who has what, where two rules want the same code.

The one that names the other in `supersedes` has it, and the one that a third requires before one that applies by
itself; a match inside what a metavariable bound is rewritten too; any other overlap is an error, never an order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from porter.diagnostics import Diagnostic, Refused
from porter.match import Application, Hit
from porter.rulebook import LoadedRule
from porter.tree import Node, Tree


def settle(applications: Sequence[Application], tree: Tree) -> tuple[Application, ...] | Refused:
    """Drop what is superseded; refuse what overlaps (P201)."""
    meetings = list(_meetings(applications, tree))
    superseded: set[int] = set()
    for one, other, _ in meetings:
        for winner, loser in ((one, other), (other, one)):
            if _yields(applications[loser].rule, applications[winner].rule):
                superseded.add(loser)
    for one, other, clash in meetings:
        if one not in superseded and other not in superseded:
            return _overlap(applications[one], applications[other], clash, tree)
    return tuple(application for number, application in enumerate(applications) if number not in superseded)


def _yields(rule: LoadedRule, other: LoadedRule) -> bool:
    is_demanded = other.declared.on_demand and not rule.declared.on_demand
    return is_demanded or rule.name in other.declared.supersedes


def _meetings(applications: Sequence[Application], tree: Tree) -> Iterator[tuple[int, int, tuple[Hit, Hit]]]:
    """Pairs of applications, by number, that want the same code, and their hits that do."""
    at_site: dict[str, list[tuple[int, Hit]]] = {}
    for number, application in enumerate(applications):
        for hit in application.hits:
            at_site.setdefault(hit.site, []).append((number, hit))
    seen: set[tuple[int, int]] = set()
    for hits in at_site.values():
        for index, (one, first) in enumerate(hits):
            for other, second in hits[index + 1 :]:
                if one != other and (one, other) not in seen and _clash(first, second, tree):
                    seen.add((one, other))
                    yield one, other, (first, second)


def _clash(a: Hit, b: Hit, tree: Tree) -> bool:
    return any(_takes(a, root, tree) for root in b.roots) or any(_takes(b, root, tree) for root in a.roots)


def _takes(hit: Hit, node: Node, tree: Tree) -> bool:
    """Whether the hit replaces the node, outside of what its metavariables bound."""
    here: Node | None = node
    while here is not None:
        if here in hit.holes:
            return False
        if here in hit.roots:
            return True
        here = tree.parents.get(here)
    return False


def _overlap(first: Application, second: Application, clash: tuple[Hit, Hit], tree: Tree) -> Refused:
    a, b = clash
    node = (a.match.expressions or a.match.segments[0])[0]
    message = f"two rules want the same code of `{a.site}`: `{first.rule.name}` and `{second.rule.name}`"
    notes = tuple(f"{hit.match.pattern.place} {hit.match.pattern.name}" for hit in (a, b))
    help_text = f"leave one out with `--without {second.rule.name}`, or let one name the other in `supersedes`"
    return Refused((Diagnostic("P201", message, tree.span(node), "both match here", notes, help_text),))

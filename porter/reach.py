"""Whether a rewrite reaches all that must change with it: every user of merged parameters, of a changed signature."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from porter.anatomy import Anatomy
from porter.parse import Parsed, methods, self_attribute
from porter.plan import Application, Hit
from porter.rule import LoadedRule
from porter.soundness import added_parameters


def broken_merges(
    rule: LoadedRule, applications: list[Application], parsed: Parsed, anatomy: Anatomy, converted: frozenset[str]
) -> Iterator[tuple[str, ast.AST | None]]:
    """Why merges of the rule do not hold, and at which code.

    A merge maps checkpoint names: every class with those parts must take it, and no other code may use them.
    `converted` are parameters that the source library makes out of other tensors.
    """
    hits = [hit for application in applications for hit in application.hits]
    owners = {hit.owner for hit in hits}
    ranges = [r for hit in hits for r in hit.ranges(parsed)]
    for _, parts, _ in rule.declared.merges:
        made = [part for part in parts if any(part in name.split(".") for name in converted)]
        if made:
            yield f"the source library makes `{made[0]}` out of other tensors of a checkpoint", None
        stray = _stray_part(parts, owners, ranges, parsed, anatomy)
        if stray is not None:
            yield f"`{parsed.text(stray)}` is used outside what the rule rewrites", stray


def _stray_part(
    parts: tuple[str, ...],
    owners: set[str | None],
    ranges: list[tuple[int, int]],
    parsed: Parsed,
    anatomy: Anatomy,
) -> ast.AST | None:
    """Code that reads or sets one of the parts, by attribute or by a string, and is not rewritten."""
    definitions: list[ast.AST] = list(parsed.functions.values())
    for name, cls in parsed.classes.items():
        unreached = name not in anatomy.roles and name not in owners
        if unreached and any(part in anatomy.members[name] for part in parts):
            continue  # a class outside the causal model that has such parts of its own
        definitions += methods(cls).values()
    for node in (node for definition in definitions for node in parsed.nodes(definition)):
        named = getattr(node, "attr", None) or (node.value if isinstance(node, ast.Constant) else None)
        if named in parts:
            start, end = parsed.range(node)
            if not any(r[0] <= start and end <= r[1] for r in ranges):
                return node
    return None


def unreached_user(hits: list[Hit], parsed: Parsed, anatomy: Anatomy) -> str | None:
    """Where an edit adds parameters to a class's forward, whoever builds or calls one must be edited too."""
    owners = {hit.owner for hit in hits}
    for hit in hits:
        if not added_parameters(hit):
            continue
        for cls, members in anatomy.members.items():
            holders = [member for member in members.values() if hit.owner in member.classes]
            beside = [c for member in holders for c in member.classes if c in parsed.classes]
            other = next((c for c in beside if c not in owners), None)
            if holders and cls not in owners:
                return f"`{cls}` also builds `{hit.owner}`, whose parameters would change"
            if other is not None:
                return f"`{other}` stands in one list with `{hit.owner}` and is not edited"
            called = _called_by_index(parsed.classes[cls], {member.name for member in holders}, parsed)
            if called is not None:
                return f"`{parsed.text(called)}` is called here too, with the parameters of the source"
    return None


def _called_by_index(cls: ast.ClassDef, lists: set[str], parsed: Parsed) -> ast.AST | None:
    """A call of one entry of a module list: `self.layers[0](...)`."""
    for node in parsed.nodes(cls) if lists else ():
        func = node.func if isinstance(node, ast.Call) else None
        if isinstance(func, ast.Subscript) and self_attribute(func.value) in lists:
            return func
    return None

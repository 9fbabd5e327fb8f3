"""Who takes or calls what a rule changes: each of them must be changed with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import libcst as cst

from porter.anatomy import Anatomy
from porter.match.found import Hit
from porter.match.soundness.check import Case, Found
from porter.match.soundness.passing import looked_into
from porter.match.soundness.signature import added_parameters
from porter.tree import Node, Tree
from porter.tree.functions import methods, parameter_names
from porter.tree.names import self_attribute


def unreached_taker(case: Case) -> Found:
    """Another class of the model takes what the rule changes, or a class on the way does more than pass it on."""
    application, tree = case.application, case.tree
    if case.hit is not application.hits[0]:
        return None  # it hangs on the application, not on the hit
    words = application.rule.carried
    edited = {other.owner for other in application.hits}
    for cls in case.anatomy.reached if words else ():
        forward = methods(tree.classes[cls]).get("forward")
        role = case.anatomy.roles.get(cls)
        if forward is None or role in ("model", "causal"):
            continue
        for name in sorted(parameter_names(forward)):
            if any(word in name for word in words):
                if cls not in edited and role == "embedding" and _by_position(cls, words, case):
                    continue  # by position it takes nothing that the rule makes: that is passed on by keyword alone
                if cls not in edited and role not in ("layer", "wrapper"):
                    return f"`{cls}` takes `{name}` too, and the rule does not change that class", forward
                uses = [node for node in tree.nodes(forward) if isinstance(node, cst.Name) and node.value == name]
                staying = tuple(use for use in uses if not tree.within(use, application.roots))
                node = looked_into(forward, staying, tree)
                if node is not None:
                    return f"`{tree.code(node)}` looks into a value whose meaning the rewrite changes", node
    return None


def _by_position(cls: str, words: Sequence[str], case: Case) -> bool:
    """Whether all that hold a class do with it is to call it, and by none of the keywords."""
    for owner, member in case.anatomy.holders.get(cls, ()):
        for method in methods(case.tree.classes[owner]).values():
            for node in case.tree.nodes(method):
                if self_attribute(node) != member.name or node in case.tree.stored:
                    continue
                call = case.tree.parents[node]
                if not isinstance(call, cst.Call) or call.func is not node:
                    if method.name.value == "forward":
                        return False
                    continue
                for argument in call.args:
                    name = argument.keyword.value if argument.keyword is not None else ""
                    if argument.star or any(word in name for word in words):
                        return False
    return True


def unreached_user(hits: Sequence[Hit], tree: Tree, anatomy: Anatomy) -> str | None:
    """Where an edit adds parameters to a class's forward, whoever builds or calls one must be edited too."""
    owners = {hit.owner for hit in hits}
    for hit in hits:
        if hit.owner is None or not added_parameters(hit):
            continue
        held: dict[str, set[str]] = {}
        for cls, member in anatomy.holders.get(hit.owner, ()):
            held.setdefault(cls, set()).add(member.name)
        for cls, members in held.items():
            if cls not in owners:
                return f"`{cls}` also builds `{hit.owner}`, whose parameters would change"
            beside = (c for name in sorted(members) for c in anatomy.members[cls][name].classes if c in tree.classes)
            other = next((c for c in beside if c not in owners), None)
            if other is not None:
                return f"`{other}` stands in one list with `{hit.owner}` and is not edited"
            called = _called_by_index(tree.nodes(tree.classes[cls]), members)
            if called is not None:
                return f"`{tree.code(called)}` is called here too, with the parameters of the source"
    return None


def _called_by_index(nodes: Iterable[Node], lists: set[str]) -> Node | None:
    """A call of one entry of a module list: `self.layers[0](...)`."""
    for node in nodes:
        func = node.func if isinstance(node, cst.Call) else None
        if isinstance(func, cst.Subscript) and self_attribute(func.value) in lists:
            return func
    return None

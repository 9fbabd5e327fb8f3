"""Numbers that a class is built with: what a rule takes for one number must not be several."""

from __future__ import annotations

import libcst as cst

from porter.match.soundness.check import Case, Found
from porter.tree import Node
from porter.tree.functions import positional


def several_numbers(case: Case) -> Found:
    """Somewhere the class is built with a tuple for a parameter of its `__init__` that the edit asks for.

    A norm over (heads, head_dim) has a weight of that shape and norms the last dimension; an op norms as many as its
    weight has.
    """
    hit, tree = case.hit, case.tree
    if hit.owner is None or not hit.site.endswith(".__init__"):
        return None
    names = [parameter.name.value for parameter in positional(hit.match.function)]
    bound = (hit.match.bindings.metas.get(name) for name in hit.match.pattern.arguments)
    wanted = {node.value for node in bound if isinstance(node, cst.Name) and node.value in names}
    built = (hit.owner, *case.anatomy.subclasses(hit.owner)) if wanted else ()
    for node in (node for cls in built for node in tree.calls.get(cls, ())):
        for name in sorted(wanted):
            value = _given(node, name, names.index(name) - 1)  # without `self`
            if isinstance(value, (cst.Tuple, cst.List)):
                return f"`{tree.code(node)}` is built with several numbers for `{name}`", node
    return None


def _given(call: cst.Call, name: str, position: int) -> Node | None:
    """What a call gives for a parameter."""
    named = (a.value for a in call.args if a.keyword is not None and a.keyword.value == name)
    plain = [a.value for a in call.args if a.keyword is None and not a.star]
    return next(named, plain[position] if 0 <= position < len(plain) else None)

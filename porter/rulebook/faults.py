"""What makes a `before` and its `after` unusable together, found when the rule is read."""

from __future__ import annotations

import libcst as cst

from porter.rule import ROLES, Edit
from porter.rulebook.markers import is_gap, is_open
from porter.tree import Function, Node
from porter.tree.fields import walk
from porter.tree.functions import body_of, parameter_names, positional
from porter.tree.names import stored_names


def fault_of_pair(edit: Edit, before: Function, after: Function) -> str | None:
    """What is wrong with the pair, in words; None for one that can be used."""
    one, other = before.name.value, after.name.value
    gaps_before, gaps_after = (sum(map(is_gap, body_of(f))) for f in (before, after))
    if edit.unit == "statements" and gaps_before != gaps_after:
        return f"`{one}` has {gaps_before} top-level `...`, `{other}` has {gaps_after}"
    bodies = body_of(before), body_of(after)
    if edit.unit == "expression" and not all(len(body) == 1 and is_expression(body[0]) for body in bodies):
        return f"an expression edit is one expression: `{one}` and `{other}` hold one each"
    if edit.unit == "expressions":
        wanted, given = (sum(map(is_expression, body)) for body in bodies)
        if wanted != given or wanted != len(bodies[0]):
            return f"`{one}` has {wanted} expressions, `{other}` puts {given} in their place"
    role = edit.site.partition(".")[0]
    if role not in (*ROLES, "*", "function"):
        return f"no kind of class is called `{role}`: there are {', '.join(ROLES)}"
    unknown = _unbound_parameters(before, after)
    if unknown:
        return f"`{other}` uses {', '.join(unknown)}, which `{one}` takes and never binds"
    if edit.unit == "statements":
        lost = stored_names(before) - stored_names(after) - set(edit.private) - {"_"}
        if lost:
            return f"`{one}` assigns {', '.join(sorted(lost))} and `{other}` does not; name them private"
    return None


def fault_of_calls(function: Function) -> str | None:
    """What is wrong with the `...` in calls of a function, in words."""
    calls = (node for node in walk(function) if isinstance(node, cst.Call))
    if any(sum(map(is_open, call.args)) > 1 for call in calls):
        return f"a call of `{function.name.value}` has two `...`: one stands for all that remains"
    return None


def is_expression(statement: Node) -> bool:
    """A statement that is an expression, or returns one."""
    return isinstance(statement, (cst.Expr, cst.Return)) and statement.value is not None


def _unbound_parameters(before: Function, after: Function) -> list[str]:
    """Parameters of `after` without annotation or default that `before` lacks: nothing could bind them."""
    plain = [p for p in positional(after) if p.annotation is None and p.default is None]
    known = parameter_names(before)
    return [parameter.name.value for parameter in plain if parameter.name.value not in known]

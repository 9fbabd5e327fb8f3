"""What a match must not do to the code around it: checked for every hit before it may be applied."""

from __future__ import annotations

import ast

from porter.parse import Parsed, self_attribute
from porter.plan import Hit

Fault = tuple[str, ast.AST | None]  # why, and where


def unsound(hit: Hit, parsed: Parsed) -> Fault | None:
    """The first reason why this hit would change more than its rule says, or None."""
    return _changed_parameter(hit, parsed) or _stray_use(hit, parsed) or _taken_name(hit, parsed)


def added_parameters(hit: Hit) -> list[ast.arg]:
    """Parameters that `after` has and `before` has not: they join the function's signature."""
    pattern = hit.match.pattern
    if pattern.after is None or hit.match.expressions:
        return []
    known = {arg.arg for arg in pattern.before.args.args}
    return [arg for arg in pattern.after.args.args if arg.arg not in known]


def _changed_parameter(hit: Hit, parsed: Parsed) -> Fault | None:
    """Something is done to a parameter before the pattern takes it: a mask, say, that the function adds to."""
    arguments = hit.match.function.args
    names = {arg.arg for arg in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
    for name in hit.edit.parameters:
        bound = hit.match.bindings.metas.get(name)
        if bound is None:
            continue
        if not isinstance(bound, ast.Name) or bound.id not in names or parsed.versions.get(bound, 0) > 0:
            return f"`{parsed.text(bound)}` is not the function's parameter as it came in", bound
    return None


def _stray_use(hit: Hit, parsed: Parsed) -> Fault | None:
    """A private value is used by code that stays."""
    bindings = hit.match.bindings
    private = {value for (name, _), value in bindings.locals.items() if name in hit.edit.private}
    if not private:
        return None
    ranges = hit.ranges(parsed)
    for node in ast.walk(hit.match.function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            start, end = parsed.range(node)
            stays = not any(r[0] <= start and end <= r[1] for r in ranges)
            if stays and (node.id, parsed.versions.get(node, 0)) in private:
                return f"`{node.id}` is used here, in a layout or place the rewrite changes", node
    return None


def _taken_name(hit: Hit, parsed: Parsed) -> Fault | None:
    """A parameter or attribute that the edit adds has a name the source uses for something else."""
    function = hit.match.function
    added = {arg.arg for arg in added_parameters(hit)}
    for node in ast.walk(function):
        if isinstance(node, (ast.Name, ast.arg)) and (getattr(node, "id", "") or getattr(node, "arg", "")) in added:
            return f"`{parsed.text(node)}` is a name this rewrite needs for itself", node
    owner = parsed.classes.get(hit.owner or "")
    after = hit.match.pattern.after
    if owner is None or after is None:
        return None
    new = _self_names(after) - _self_names(hit.match.pattern.before)
    for node in ast.walk(owner):
        if self_attribute(node) in new:
            return f"`{parsed.text(node)}` is a name this rewrite needs for itself", node
    return None


def _self_names(function: ast.AST) -> set[str]:
    """Attributes of `self` that are assigned."""
    stores = (node for node in ast.walk(function) if isinstance(getattr(node, "ctx", None), ast.Store))
    return set(filter(None, map(self_attribute, stores)))

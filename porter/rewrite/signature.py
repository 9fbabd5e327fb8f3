"""Parameters that an edit adds to a function, where its `after` has them, and the annotation of what it returns."""

from __future__ import annotations

import libcst as cst

from porter.match import Hit
from porter.match.soundness.signature import added_parameters
from porter.tree import Function, Tree
from porter.tree.functions import positional


def with_parameters(function: Function, hit: Hit) -> Function:
    """The function with the parameters that the hit adds."""
    after = hit.match.pattern.after
    assert after is not None
    parameters = function.params
    for added in added_parameters(hit):
        parameters = _inserted(function, parameters, added, _names_before(added, hit))
    function = function.with_changes(params=parameters)
    if after.returns is not None and function.returns is not None and added_parameters(hit):
        old, new = function.returns.annotation, after.returns.annotation
        annotation = function.returns.with_changes(annotation=new.with_changes(lpar=old.lpar, rpar=old.rpar))
        function = function.with_changes(returns=annotation)
    return function


def insertion_line(hit: Hit, added: cst.Param, tree: Tree) -> int:
    """The line of the source before which the added parameter stands; of parameters in one line, that line."""
    function = hit.match.function
    anchor = _anchor(positional(function), _names_before(added, hit), added)
    line = tree.places.last_line(anchor.default or anchor.annotation or anchor)
    return line if _space_before(function, function.params, anchor) is None else line + 1


def _names_before(added: cst.Param, hit: Hit) -> list[str]:
    """What the parameters before the added one are called in the source."""
    after = hit.match.pattern.after
    assert after is not None
    ours = positional(after)
    return [_name_in_source(parameter, hit) for parameter in ours[: ours.index(added)]]


def _name_in_source(parameter: cst.Param, hit: Hit) -> str:
    bound = hit.match.bindings.metas.get(parameter.name.value)
    return bound.value if isinstance(bound, cst.Name) else parameter.name.value


def _anchor(parameters: list[cst.Param], before: list[str], added: cst.Param) -> cst.Param:
    """The parameter that the new one follows: the last, for one with a default."""
    if added.default is not None:
        return parameters[-1]
    by_name = {parameter.name.value: parameter for parameter in parameters}
    return next((by_name[name] for name in reversed(before) if name in by_name), parameters[0])


def _inserted(function: Function, parameters: cst.Parameters, added: cst.Param, before: list[str]) -> cst.Parameters:
    anchor = _anchor([*parameters.posonly_params, *parameters.params], before, added)
    name = "params" if anchor in parameters.params else "posonly_params"
    listed = list(getattr(parameters, name))
    at = listed.index(anchor)
    space = _space_before(function, parameters, anchor)
    joint = cst.Comma(whitespace_after=space if space is not None else cst.SimpleWhitespace(" "))
    nothing = cst.SimpleWhitespace("")
    listed[at : at + 1] = [
        anchor.with_changes(comma=joint, whitespace_after_param=nothing),
        added.with_changes(comma=anchor.comma, whitespace_after_param=anchor.whitespace_after_param),
    ]
    return parameters.with_changes(**{name: listed})


def _space_before(
    function: Function, parameters: cst.Parameters, anchor: cst.Param
) -> cst.ParenthesizedWhitespace | None:
    """The line break before a parameter that stands on a line of its own, without comments."""
    every = [*parameters.posonly_params, *parameters.params]
    at = every.index(anchor)
    if at == 0:
        space: object = function.whitespace_before_params
    else:
        comma = every[at - 1].comma
        space = comma.whitespace_after if isinstance(comma, cst.Comma) else None
    if not isinstance(space, cst.ParenthesizedWhitespace):
        return None
    return cst.ParenthesizedWhitespace(indent=space.indent, last_line=space.last_line)

"""What a match must not do to the code around it: checked for every application before it may be applied."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from porter.anatomy import Anatomy
from porter.opaque import looked_into, made_elsewhere
from porter.parse import (
    Function,
    Parsed,
    arguments_of,
    decorator_name,
    defaults_of,
    methods,
    self_attribute,
    stored_names,
)
from porter.plan import Application, Hit

HUB_DECORATORS = frozenset({"use_kernel_forward_from_hub", "use_kernelized_func"})
HARMLESS_DECORATORS = HUB_DECORATORS | {"auto_docstring", "no_grad"}


@dataclass(frozen=True)
class Fault:
    """Why an application is not applied, and at which code of which site."""

    site: str
    reason: str
    node: ast.AST | None


Found = tuple[str, ast.AST | None] | None
Check = Callable[[Hit, Application, Parsed, Anatomy], Found]


def unsound(application: Application, parsed: Parsed, anatomy: Anatomy) -> Fault | None:
    """The first reason why this application would change more than its rule says, or None."""
    for hit in application.hits:
        for check in CHECKS:
            found = check(hit, application, parsed, anatomy)
            if found is not None:
                return Fault(hit.site, *found)
    return None


def added_parameters(hit: Hit) -> list[ast.arg]:
    """Parameters that `after` has and `before` has not: they join the function's signature."""
    pattern = hit.match.pattern
    if pattern.after is None or hit.match.expressions:
        return []
    known = {arg.arg for arg in pattern.before.args.args}
    return [arg for arg in pattern.after.args.args if arg.arg not in known]


def free_names(hit: Hit) -> set[str]:
    """Names an `after` takes from the module: neither bound by the pattern nor assigned in it."""
    pattern = hit.match.pattern
    after = pattern.after
    assert after is not None
    bound = pattern.metavariables | set(hit.match.bindings.names) | {"self"} | {arg.arg for arg in after.args.args}
    loads = {node.id for statement in after.body for node in ast.walk(statement) if isinstance(node, ast.Name)}
    if added_parameters(hit):
        annotations = [arg.annotation for arg in added_parameters(hit)] + [after.returns]
        loads |= {n.id for a in annotations if a is not None for n in ast.walk(a) if isinstance(n, ast.Name)}
    return loads - bound - stored_names(after)


def _parameters(function: Function) -> set[str]:
    return {arg.arg for arg in arguments_of(function)}


def _inside(node: ast.AST, hits: tuple[Hit, ...], parsed: Parsed) -> bool:
    start, end = parsed.range(node)
    return any(r[0] <= start and end <= r[1] for hit in hits for r in hit.ranges(parsed))


def _changed_parameter(hit: Hit, application: Application, parsed: Parsed, anatomy: Anatomy) -> Found:
    """Something is done to a parameter before the pattern takes it: a mask, say, that the function adds to."""
    names = _parameters(hit.match.function)
    for name in hit.edit.parameters:
        bound = hit.match.bindings.metas.get(name)
        if bound is None:
            continue
        if not isinstance(bound, ast.Name) or bound.id not in names or parsed.versions.get(bound, 0) > 0:
            return f"`{parsed.text(bound)}` is not the function's parameter as it came in", bound
    return None


def _constant_value(hit: Hit, application: Application, parsed: Parsed, anatomy: Anatomy) -> Found:
    """A metavariable that stands for what the model computes is bound to something that does not vary."""
    for name in hit.edit.varying:
        bound = hit.match.bindings.metas.get(name)
        if bound is None:
            continue
        if not any(isinstance(n, ast.Name) and n.id != "self" for n in ast.walk(bound)):
            return f"`{parsed.text(bound)}` does not depend on the input", bound
    return None


def _stray_use(hit: Hit, application: Application, parsed: Parsed, anatomy: Anatomy) -> Found:
    """A private value is used by code that stays."""
    private = {value for (name, _), value in hit.match.bindings.locals.items() if name in hit.edit.private}
    for node in parsed.nodes(hit.match.function) if private else ():
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            is_private = (node.id, parsed.versions.get(node, 0)) in private
            if is_private and not _inside(node, (hit,), parsed):
                return f"`{node.id}` is used here, in a layout or place the rewrite changes", node
    return None


def _removed_attribute(hit: Hit, application: Application, parsed: Parsed, anatomy: Anatomy) -> Found:
    """An attribute that the edit takes away is used or set again elsewhere in the class or one derived from it."""
    after = hit.match.pattern.after
    removed = _self_names(hit.match.pattern.before) - (_self_names(after) if after else set())
    if not removed or hit.owner is None:
        return None
    for cls in (hit.owner, *anatomy.subclasses(hit.owner)):
        for node in parsed.nodes(parsed.classes[cls]):
            if self_attribute(node) in removed and not _inside(node, application.hits, parsed):
                return f"`{parsed.text(node)}` is used outside what the rule rewrites", node
    for cls in anatomy.reached:  # `self.mlp.act_fn = ...`, set from where the module is held
        for node in parsed.nodes(parsed.classes[cls]):
            is_store = isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load)
            if is_store and node.attr in removed and self_attribute(node) is None:  # type: ignore[attr-defined]
                return f"`{parsed.text(node)}` sets what the rule takes away", node
    return None


def _taken_attribute(hit: Hit, application: Application, parsed: Parsed, anatomy: Anatomy) -> Found:
    """An attribute that the edit adds is there already."""
    after = hit.match.pattern.after
    if hit.owner is None or after is None:
        return None
    new = _self_names(after) - _self_names(hit.match.pattern.before)
    for cls in (hit.owner, *anatomy.subclasses(hit.owner)) if new else ():
        for node in parsed.nodes(parsed.classes[cls]):
            if self_attribute(node) in new or (node in parsed.classes[cls].body and set(_bound_by(node)) & new):
                return f"`{cls}` has a name of its own that this rewrite needs", node
    return None


def _bound_by(statement: ast.AST) -> Iterator[str]:
    """Names that a statement of a class body defines."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
        yield statement.name
    elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
        yield from stored_names(statement)


def _hidden_name(hit: Hit, application: Application, parsed: Parsed, anatomy: Anatomy) -> Found:
    """A name of the new code means something else here: a local, a parameter, a definition of the source's own."""
    function = hit.match.function
    local = _parameters(function) | stored_names(function)
    added = {arg.arg for arg in added_parameters(hit)}
    for name in sorted(added & local):
        return f"`{name}` is a name this rewrite needs for itself", function
    ours = application.rule.imports
    meant = {node.id for node in ast.walk(hit.match.pattern.before) if isinstance(node, ast.Name)}
    for name in sorted(_unbound(hit) - _parameters(function)):
        return f"the function has no parameter `{name}`, which this rewrite hands on", function
    for name in sorted(free_names(hit) - meant):  # what `before` names too is the source's own
        if name in local:
            if name in ours or hasattr(builtins, name):
                return f"`{name}` hides what this rewrite calls by that name", function
            continue  # a parameter of the function, which the rule means
        if name in ours and parsed.module_bindings[name] and not _same_import(name, hit, application, parsed):
            return f"`{name}` of this file hides what this rewrite calls by that name", function
        known = name in ours or parsed.module_bindings[name] or hasattr(builtins, name) or "*" in parsed.imports
        if not known:
            return f"`{name}`, which this rewrite needs, is not defined here", function
    return None


def _unbound(hit: Hit) -> set[str]:
    """Metavariables of `after` that `before` never uses: parameters of the function under their own names."""
    after = hit.match.pattern.after
    loads = {n.id for s in (after.body if after else ()) for n in ast.walk(s) if isinstance(n, ast.Name)}
    pattern = hit.match.pattern
    return (loads & pattern.metavariables) - set(hit.match.bindings.metas) - pattern.assigned


def _same_import(name: str, hit: Hit, application: Application, parsed: Parsed) -> bool:
    """The file imports the name, once, and from where the rule does or a package of the same root."""
    theirs, ours = parsed.imports.get(name), application.rule.imports[name]
    if theirs is None or parsed.module_bindings[name] > 1:
        return False
    roots = {theirs.module.split(".")[0], ours.module.split(".")[0]}
    return len(roots) == 1 or theirs.level > 0 or name == "torch_npu"


def _decorated(hit: Hit, application: Application, parsed: Parsed, anatomy: Anatomy) -> Found:
    """A decorator may look at a signature that the edit changes."""
    for decorator in hit.match.function.decorator_list if added_parameters(hit) else ():
        if decorator_name(decorator) not in HARMLESS_DECORATORS:
            return f"`@{parsed.text(decorator)}` wraps the function, whose parameters would change", decorator
    return None


def _other_return(hit: Hit, application: Application, parsed: Parsed, anatomy: Anatomy) -> Found:
    """Where the edit changes what is returned, it must change every return."""
    if hit.edit.unit != "statements" or not any(isinstance(n, ast.Return) for n in hit.match.pattern.before.body):
        return None
    for node in parsed.nodes(hit.match.function):
        if isinstance(node, ast.Return) and not _inside(node, (hit,), parsed):
            return "the function also returns here, where the rewrite would not change what it returns", node
    return None


def _derived_class(hit: Hit, application: Application, parsed: Parsed, anatomy: Anatomy) -> Found:
    """A class derived from one whose forward changes its parameters calls or replaces that forward."""
    owners = {other.owner for other in application.hits}
    after = hit.match.pattern.after
    defaults = defaults_of(after) if after else {}
    for cls in anatomy.subclasses(hit.owner) if hit.owner and added_parameters(hit) else ():
        needs_default = any(arg.arg not in defaults for arg in added_parameters(hit))
        if cls not in owners and (needs_default or "forward" in methods(parsed.classes[cls])):
            return f"`{cls}` derives from `{hit.owner}`, whose parameters would change", parsed.classes[cls]
    return None


def _looked_into(hit: Hit, application: Application, parsed: Parsed, anatomy: Anatomy) -> Found:
    """A value that means something else after the edit is read by code that stays."""
    if not hit.edit.opaque:
        return None
    function = hit.match.function
    here = (other.match for other in application.hits if other.edit.opaque and other.match.function is function)
    sources = tuple(node for match in here for node in match.expressions)
    foreign = made_elsewhere(function, sources, application.rule.declared.carried)
    if foreign is not None:
        return f"`{parsed.text(foreign)}` is not made by what the rule replaces", foreign
    node = looked_into(function, sources)
    return (f"`{parsed.text(node)}` looks into a value whose meaning the rewrite changes", node) if node else None


def _unreached_taker(hit: Hit, application: Application, parsed: Parsed, anatomy: Anatomy) -> Found:
    """Another class of the model takes what the rule changes, or a class on the way does more than pass it on."""
    edited = {other.owner for other in application.hits}
    for cls in anatomy.reached if application.rule.declared.carried else ():
        forward = methods(parsed.classes[cls]).get("forward")
        role = anatomy.roles.get(cls)
        if forward is None or role in ("model", "causal"):
            continue
        for name in sorted(_parameters(forward)):
            if any(word in name for word in application.rule.declared.carried):
                if cls not in edited and role != "layer":
                    return f"`{cls}` takes `{name}` too, and the rule does not change that class", forward
                uses = [n for n in parsed.nodes(forward) if isinstance(n, ast.Name) and n.id == name]
                staying = tuple(use for use in uses if not _inside(use, application.hits, parsed))
                node = looked_into(forward, staying)
                if node is not None:
                    return f"`{parsed.text(node)}` looks into a value whose meaning the rewrite changes", node
    return None


def _self_names(function: ast.AST) -> set[str]:
    """Attributes of `self` that are assigned."""
    stores = (node for node in ast.walk(function) if isinstance(getattr(node, "ctx", None), ast.Store))
    return set(filter(None, map(self_attribute, stores)))


CHECKS: tuple[Check, ...] = (
    _changed_parameter,
    _constant_value,
    _stray_use,
    _removed_attribute,
    _taken_attribute,
    _hidden_name,
    _decorated,
    _other_return,
    _derived_class,
    _looked_into,
    _unreached_taker,
)

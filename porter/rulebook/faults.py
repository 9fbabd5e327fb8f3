"""What makes a `before` and its `after` unusable together, found when the rule is read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import libcst as cst

from porter.rule import ROLES, Edit, Rule
from porter.rulebook.markers import is_gap, is_open
from porter.rulebook.optional import MOST, parts_of
from porter.tree import Function, Node, Tree
from porter.tree.fields import walk
from porter.tree.functions import body_of, every_parameter, parameter_names, positional
from porter.tree.names import stored_nodes

if TYPE_CHECKING:
    from porter.rulebook.loaded import LoadedEdit
    from porter.rulebook.pattern import Pattern

_PATTERNS = ("before", "after", "given_", "not_")


def fault_of_pair(edit: Edit, pattern: Pattern) -> str | None:
    """What is wrong with the two sides of a pattern, in words; None for one that can be used."""
    before, after = pattern.before, pattern.after
    if all(map(is_gap, body_of(before))):
        return f"`{before.name.value}` says nothing: a pattern needs a statement"
    if after is None:
        return _fault_of_site(edit.site)
    one, other = before.name.value, after.name.value
    if not body_of(after):
        return f"`{other}` says nothing: what goes is said by `pass`"
    gaps_before, gaps_after = (sum(map(is_gap, body_of(f))) for f in (before, after))
    if edit.unit in ("statements", "function") and gaps_before != gaps_after:
        return f"`{one}` has {gaps_before} top-level `...`, `{other}` has {gaps_after}"
    bodies = body_of(before), body_of(after)
    if edit.unit == "expression" and not all(len(body) == 1 and is_expression(body[0]) for body in bodies):
        return f"an expression edit is one expression: `{one}` and `{other}` hold one each"
    if edit.unit == "expressions":
        wanted, given = (sum(map(is_expression, body)) for body in bodies)
        if wanted != given or wanted != len(bodies[0]):
            return f"`{one}` has {wanted} expressions, `{other}` puts {given} in their place"
    fault = _fault_of_site(edit.site)
    if fault is not None:
        return fault
    taken = (parameter_names(before) & pattern.read_after) - every_parameter(after) - pattern.assigned_after
    if taken:
        return f"`{other}` uses {', '.join(sorted(taken))}, which `{one}` takes: it has to take that too"
    unknown = _unbound_parameters(before, after)
    if unknown:
        return f"`{other}` uses {', '.join(unknown)}, which `{one}` takes and never binds"
    if edit.unit == "statements" and _leaves_nothing(pattern, edit.private):
        return f"`{one}` assigns {', '.join(sorted(pattern.assigned))} and `{other}` does not: name private what goes"
    return None


def _leaves_nothing(pattern: Pattern, private: tuple[str, ...]) -> bool:
    """Whether `after` binds none of the locals that are all that `before` makes: a slip, where it is not said."""
    if not pattern.assigned <= pattern.hidden or pattern.assigned <= {*private}:
        return False
    made = [*stored_nodes(walk(pattern.before)), body_of(pattern.before)[-1]]
    return not any(isinstance(node, (cst.Attribute, cst.Subscript, cst.Return)) for node in made)


def fault_of_parts(before: Function, after: Function | None) -> str | None:
    """What is wrong with the optional parts of two sides: those of `after` stand for those of `before`, in order."""
    parts = parts_of(before)
    if len(parts) > MOST:
        return f"`{before.name.value}` has {len(parts)} optional parts, more than {MOST}: make two patterns of it"
    given = len(parts_of(after)) if after is not None else len(parts)
    if after is not None and given != len(parts):
        return f"`{before.name.value}` has {len(parts)} optional parts, `{after.name.value}` has {given}"
    return None


def is_of_pytorch(site: str) -> bool:
    """Whether a site is a class of PyTorch, which no file that is ported defines."""
    return site.startswith("torch.nn.")


def _fault_of_site(site: str) -> str | None:
    role, _, method = site.partition(".")
    if role not in (*ROLES, "*", "function"):
        return f"no kind of class is called `{role}`: there are {', '.join(ROLES)}"
    if site not in ("*", "function") and (role == "function" or not method.isidentifier()):
        return f"site is `{site}`: a kind of class is followed by a method, as in `norm.forward`"
    return None


def fault_of_functions(tree: Tree, rule: Rule) -> tuple[Node, str] | None:
    """A function of the file that no edit is about, that is there twice, or that cannot be a pattern; and why not."""
    known: dict[str, Function] = {}
    suffixes = [f"_{edit.name}" if edit.name else "" for edit in rule.edits] or [""]
    for node in tree.statements:
        if not isinstance(node, cst.FunctionDef) or not node.name.value.startswith(_PATTERNS):
            continue
        name = node.name.value
        if name in known:
            return node, f"`{name}` is defined twice"
        if name in ("given_", "not_"):
            return node, f"`{name}` does not say what it is"
        if node.asynchronous or node.decorators:
            return node, f"`{name}` is a pattern: a plain function, with no `async` and no decorator"
        side = name.partition("_")[0]
        if side in ("before", "after") and not any(_belongs(name.removeprefix(side), suffix) for suffix in suffixes):
            return node, f"`{name}` belongs to no edit"
        known[name] = node
    for name, node in known.items():
        variant = name.removeprefix("after")
        if name.startswith("after") and f"before{variant}" not in known and "__" in variant:
            return node, f"`{name}` has no `before{variant}`"
    return None


def _belongs(rest: str, suffix: str) -> bool:
    return rest == suffix or rest.startswith(f"{suffix}__")


def fault_of_names(edit: Edit, patterns: Iterable[Pattern]) -> str | None:
    """What is wrong with the names that an edit lists: each must be one of its patterns' own."""
    for listed in ("private", "returned"):
        for name in getattr(edit, listed):
            if not any(name in pattern.named | pattern.metavariables for pattern in patterns):
                return f"{listed} has `{name}`, which no `before` mentions"
    return None


def fault_of_guards(rule: Rule, edits: Iterable[LoadedEdit]) -> str | None:
    """A guard of what no pattern binds would guard nothing."""
    known = {name for loaded in edits for pattern in loaded.patterns for name in pattern.metavariables}
    unknown = next((name for name in rule.guards if name not in known and not name.startswith("self.")), None)
    return unknown and f"guards has `{unknown}`, which no `before` takes"


def fault_of_splits(rule: Rule, edits: Iterable[LoadedEdit]) -> str | None:
    """A split for a spelling that there is not."""
    variants = {pattern.variant for loaded in edits for pattern in loaded.patterns}
    for key in rule.splits:
        name, _, variant = key.partition("__")
        if variant and variant not in variants:
            return f"splits has `{key}`, and no `before` is called `__{variant}`"
        if variant and name not in rule.splits:
            return f"splits has `{key}`, and no `{name}` for the other spellings"
    return None


def fault_of_calls(pattern: Pattern) -> str | None:
    """What is wrong with the `...` in calls of either side, in words."""
    for function, call in pattern.calls():
        if sum(map(is_open, call.args)) > 1:
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

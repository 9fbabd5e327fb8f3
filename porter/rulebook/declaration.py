"""`rule = Rule(...)` -> the `Rule` it declares: literals and `porter.rule`'s names of some, each field of its kind; or
what is wrong, and where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import libcst as cst

from porter.diagnostics import Refused, nearest
from porter.rule import NAMED, ROLES, SPLITS, UNITS, Edit, Rule
from porter.rulebook.shared import broken
from porter.tree import Node, Tree
from porter.tree.values import NotLiteral, literal


@dataclass(frozen=True)
class _Kind:
    """What a field holds: a test, and how a message says it."""

    holds: Callable[[Any], bool]
    wanted: str


def _is_names(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(name, str) and name.isidentifier() for name in value)


def _is_guarded(key: Any) -> bool:
    """A name, or `self` and names behind it."""
    parts = tuple(key.split(".")) if isinstance(key, str) else ()
    return _is_names(parts) and bool(parts) and (len(parts) == 1 or parts[0] == "self")


def _is_lists(value: Any, *, least: int = 1) -> bool:
    """Names, each with a tuple of at least so many."""
    lists = value.values() if isinstance(value, dict) else ()
    return isinstance(value, dict) and _is_names((*value,)) and all(_is_names(n) and len(n) >= least for n in lists)


def _is_split(value: Any) -> bool:
    if not isinstance(value, tuple) or len(value) != 2:
        return False
    how, dimension = value
    return how in SPLITS and isinstance(dimension, int) and not isinstance(dimension, bool) and dimension >= 0


_TEXT = _Kind(lambda value: isinstance(value, str), "a text")
_NAMES = _Kind(_is_names, 'a tuple of names, as in `("one",)`')
_TRUTH = _Kind(lambda value: isinstance(value, bool), "True or False")
_KINDS = {
    "name": _Kind(lambda value: value == "" or _is_names((value,)), "a name"),
    "room": _Kind(lambda value: value == "" or _is_names((value,)), "a name of the configuration's"),
    "site": _TEXT,
    "unit": _Kind(lambda value: value in UNITS, f"one of {', '.join(UNITS)}"),
    "private": _NAMES,
    "returned": _Kind(
        lambda value: _is_lists(value) and all(set(kinds) <= set(ROLES) for kinds in value.values()),
        'locals and kinds of classes, as in `{"chosen": ("experts",)}`',
    ),
    "carried": _NAMES,
    "attributes": _NAMES,
    "answers": _NAMES,
    "closes": _Kind(
        lambda value: (
            isinstance(value, dict)
            and all(isinstance(why, str) and why for why in value)
            and all(needs and _is_names(needs) for needs in value.values())
        ),
        'reasons and needs, as in `{"there is no such op": ("sum",)}`',
    ),
    "requires": _Kind(
        lambda value: isinstance(value, dict) and _is_names((*value, *value.values())),
        'attributes and rules, as in `{"mlp": "swiglu"}`',
    ),
    "on_demand": _TRUTH,
    "supersedes": _NAMES,
    "guards": _Kind(
        lambda value: (
            isinstance(value, dict)
            and all(map(_is_guarded, value))
            and all(isinstance(allowed, tuple) and allowed for allowed in value.values())
        ),
        'metavariables, or attributes of `self`, and the values allowed, as in `{"kind": ("silu",)}`',
    ),
    "absent": _NAMES,
    "merges": _Kind(
        lambda value: _is_lists(value, least=2),
        'linears and those that become one, as in `{"gate_up": ("gate_proj", "up_proj")}`',
    ),
    "splits": _Kind(
        lambda value: isinstance(value, dict) and _is_names(tuple(value)) and all(map(_is_split, value.values())),
        f'attributes, each with one of {", ".join(SPLITS)} and a dimension, as in `{{"sinks": ("pieces", 0)}}`',
    ),
}


def declared(node: Node, tree: Tree) -> Rule | Refused:
    """The rule that a node declares. Errors are P030, at the argument that is wrong."""
    given = _arguments(node, tree, Rule)
    if isinstance(given, Refused):
        return given
    values: dict[str, Any] = {}
    for name, value in given.items():
        found = _edits(value, tree) if name == "edits" else _value(name, value, tree)
        if isinstance(found, Refused):
            return found
        values[name] = found
    return Rule(**values)


def _edits(node: Node, tree: Tree) -> tuple[Edit, ...] | Refused:
    if not isinstance(node, cst.Tuple) or not node.elements:
        return broken(tree, node, 'edits are a tuple, as in `(Edit("one", site="*"),)`')
    found: dict[str, Edit] = {}
    for element in node.elements:
        given = _arguments(element.value, tree, Edit)
        if isinstance(given, Refused):
            return given
        values = {name: _value(name, value, tree) for name, value in given.items()}
        refused = next((value for value in values.values() if isinstance(value, Refused)), None)
        if refused is not None:
            return refused
        edit = Edit(**values)
        if edit.name in found:
            return broken(tree, element.value, f"there is another edit called `{edit.name}`")
        found[edit.name] = edit
    return tuple(found.values())


def _arguments(node: Node, tree: Tree, cls: type) -> dict[str, Node] | Refused:
    """Field -> the node that gives it, of a call of `Rule` or `Edit`."""
    name = node.func.value if isinstance(node, cst.Call) and isinstance(node.func, cst.Name) else None
    if not isinstance(node, cst.Call) or name != cls.__name__:
        return broken(
            tree, node, f"`{cls.__name__}(...)` is wanted here, with literals only, found `{tree.code(node)}`"
        )
    names = [item.name for item in fields(cls)]
    given: dict[str, Node] = {}
    for place, argument in enumerate(node.args):
        if argument.star:
            return broken(tree, argument, f"a rule is declared with literals only, found `{tree.code(argument)}`")
        if argument.keyword is None and place >= len(names):
            return broken(tree, argument, f"`{cls.__name__}` has {len(names)} fields, this is one more")
        name = names[place] if argument.keyword is None else argument.keyword.value
        if name not in names:
            close = " or ".join(f"`{other}`" for other in nearest(name, names))
            hint = f"; did you mean {close}?" if close else f": it has {', '.join(names)}"
            return broken(tree, argument, f"`{cls.__name__}` has no field `{name}`{hint}")
        if name in given:
            return broken(tree, argument, f"`{name}` is given twice")
        given[name] = argument.value
    return given


def _named(node: Node, tree: Tree) -> Any:
    """The value of a name that the rule file imports from `porter.rule`; None for anything else."""
    module, _, name = (tree.qualified(node.value) or "").rpartition(".") if isinstance(node, cst.Name) else ("", "", "")
    return NAMED.get(name) if module == "porter.rule" else None


def _value(name: str, node: Node, tree: Tree) -> Any:
    """The value of a field, or Refused."""
    value = None
    try:
        value = _named(node, tree) or literal(node)
        fits = _KINDS[name].holds(value)
    except NotLiteral as error:
        return broken(tree, error.node, f"a rule is declared with literals only, found `{tree.code(error.node)}`")
    except TypeError:  # a list as a key
        fits = False
    if fits:
        return value
    shown = value if isinstance(value, str) and value else tree.code(node)
    return broken(tree, node, f"{name} is `{shown}`, not {_KINDS[name].wanted}")

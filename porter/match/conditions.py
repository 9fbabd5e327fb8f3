"""What must hold beside a match: what the configuration says by default, what an attribute of the class is set to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import libcst as cst

from porter.anatomy import ConfigDefaults
from porter.match.bindings import Match
from porter.match.settings import Setting, settings_of
from porter.match.subject import Place, Subject
from porter.rule import Edit
from porter.rulebook import LoadedEdit, LoadedRule
from porter.tree import Node, Tree
from porter.tree.functions import parameter_names
from porter.tree.names import dotted, self_attribute
from porter.tree.values import text_of_constant


def is_guarded(rule: LoadedRule, loaded: LoadedEdit, place: Place, match: Match, subject: Subject) -> bool:
    """Each guarded metavariable is bound to a value that has, by default, one of the values the rule allows.

    An attribute is guarded in the classes of the rule's first edit.
    """
    for name, allowed in rule.declared.guards.items():
        settings: Iterable[Setting]
        if name.startswith("self."):
            settings = settings_of(name.rpartition(".")[2], place, subject) if loaded is rule.edits[0] else ()
        else:
            node = match.bindings.metas.get(name)
            settings = (Setting(subject.tree.code(node), node, node),) if node is not None else ()
        for setting in settings:
            value = value_in_eval(setting.value, subject.defaults) if setting.value is not None else None
            if not any(type(value) is type(one) and value == one for one in allowed):
                subject.fail(rule, place.site, _reason(setting, value, allowed), setting.node, guarded=True)
                return False
    return True


def exchanged_parameter(edit: Edit, match: Match, tree: Tree) -> Node | None:
    """What a metavariable that must be a parameter stands for, where that is something else."""
    names = parameter_names(match.function)
    for bound in (match.bindings.metas.get(name) for name in edit.parameters):
        if bound is None:
            continue
        if not isinstance(bound, cst.Name) or bound.value not in names or tree.versions.get(bound, 0) > 0:
            return bound
    return None


def _reason(setting: Setting, value: Any, allowed: tuple[Any, ...]) -> str:
    needs = " or ".join(map(repr, allowed))
    if setting.value is None:
        return f"`{setting.text}` may be any value, the rule needs {needs}"
    return f"`{setting.text}` is {'unknown' if value is None else repr(value)} by default, the rule needs {needs}"


def value_in_eval(node: Node, defaults: ConfigDefaults) -> Any:
    """The value of an expression with the configuration's defaults, where nothing trains; None when unknown."""
    if isinstance(node, cst.IfExp):
        test = value_in_eval(node.test, defaults)
        return value_in_eval(node.body if test else node.orelse, defaults) if isinstance(test, bool) else None
    if isinstance(node, cst.UnaryOperation) and isinstance(node.operator, cst.Not):
        value = value_in_eval(node.expression, defaults)
        return not value if isinstance(value, bool) else None
    if self_attribute(node) == "training":
        return False
    if isinstance(node, cst.Call) and dotted(node.func) == "getattr" and len(node.args) == 3:
        holder, name, otherwise = (argument.value for argument in node.args)
        attribute = text_of_constant(name)
        if dotted(holder) in ("config", "self.config") and attribute is not None:
            return defaults.values.get(attribute, value_in_eval(otherwise, defaults))
        return None
    return defaults.value_of(node)

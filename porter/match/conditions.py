"""What must hold beside a match: what the configuration says by default, what an attribute of the class is set to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import libcst as cst

from porter.anatomy import ConfigDefaults
from porter.match.bindings import Match
from porter.match.settings import Setting, settings_of
from porter.match.subject import Place, Subject
from porter.rule import NOT_CAUSAL
from porter.rulebook import LoadedEdit, LoadedRule
from porter.tree import Node, Tree
from porter.tree.functions import parameter_names
from porter.tree.names import dotted, self_attribute
from porter.tree.values import is_constant, text_of_constant

_CONFIGURATIONS = ("config", "self.config")


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
            reason = _fault(name, setting, allowed, rule, subject)
            if reason is not None:
                subject.fail(rule, place.site, reason, setting.node, guarded=True)
                return False
    return True


def _fault(name: str, setting: Setting, allowed: tuple[Any, ...], rule: LoadedRule, subject: Subject) -> str | None:
    """Why a guarded name may have another value than the rule allows."""
    value = value_in_eval(setting.value, subject.defaults) if setting.value is not None else None
    if not any(type(value) is type(one) and value == one for one in allowed):
        return _reason(setting, value, allowed)
    if name.startswith("self.") and not _stays(name.rpartition(".")[2], setting, rule, subject):
        return f"`{setting.text}`: another configuration sets another value, and the port would not notice"
    return None


def _stays(attribute: str, setting: Setting, rule: LoadedRule, subject: Subject) -> bool:
    """Whether a port has the attribute's value under every configuration that it takes."""
    if setting.value is None or is_constant(setting.value):
        return True
    if any(attribute in pattern.attributes[1] for loaded in rule.edits for pattern in loaded.patterns):
        return True
    names = {node.value for node in subject.tree.nodes(setting.value) if isinstance(node, cst.Name)}
    read = [_field_read(node) for node in subject.tree.nodes(setting.value)]
    return (
        names <= {"config", "self", "getattr", "True", "False", "None"} and any(read) and {*read} <= {None, *NOT_CAUSAL}
    )


def _field_read(node: Node) -> str | None:
    """The field of the configuration that a node reads."""
    if isinstance(node, cst.Attribute) and dotted(node.value) in _CONFIGURATIONS:
        return node.attr.value
    return _asked_for(node)[0] if isinstance(node, cst.Call) else None


def _asked_for(node: cst.Call) -> tuple[str | None, Node | None]:
    """The field and the default of `getattr(config, field, default)`."""
    if dotted(node.func) != "getattr" or len(node.args) != 3:
        return None, None
    holder, name, otherwise = (argument.value for argument in node.args)
    return (text_of_constant(name), otherwise) if dotted(holder) in _CONFIGURATIONS else (None, None)


def exchanged_parameter(match: Match, tree: Tree) -> Node | None:
    """What a metavariable that must be a parameter stands for, where that is something else."""
    names = parameter_names(match.function)
    for bound in (match.bindings.metas.get(name) for name in match.pattern.arguments):
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
    if isinstance(node, cst.Call):
        asked, otherwise = _asked_for(node)
        if asked is not None and otherwise is not None:
            return defaults.values.get(asked, value_in_eval(otherwise, defaults))
    return defaults.value_of(node)

"""Default values of the configuration a model is built from, read from its source: what guards are checked against."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import libcst as cst

from porter.diagnostics import Refused
from porter.source import Companion
from porter.tree import Node, Tree, parse
from porter.tree.functions import default_values, methods, parameters_of, statements
from porter.tree.names import dotted
from porter.tree.values import NotLiteral, constant, is_constant, literal


@dataclass(frozen=True)
class ConfigDefaults:
    """Class attributes and `__init__` defaults of the configuration class, by name; literals only."""

    values: dict[str, Any]

    def value_of(self, node: Node) -> Any:
        """The value of a literal, or the default behind `config.name` and `self.config.name`; None when unknown."""
        if is_constant(node):
            return constant(node)
        if isinstance(node, cst.Attribute) and dotted(node.value) in ("config", "self.config"):
            return self.values.get(node.attr.value)
        return None


def defaults_of(companion: Companion | None, tree: Tree, causal: str) -> ConfigDefaults | Refused:
    """Defaults of the configuration class that the causal class is built from, out of the file beside it."""
    if companion is None:
        return ConfigDefaults({})
    configuration = parse(companion.text, companion.name, companion.path)
    if isinstance(configuration, Refused):
        return configuration
    return read_defaults(configuration, configuration_class(tree, causal))


def read_defaults(configuration: Tree, name: str | None) -> ConfigDefaults:
    """Defaults of the class `name`, or of the file's last configuration class."""
    classes = [n for n in configuration.classes if n.endswith("Config")]
    chosen = name if name in configuration.classes else (classes[-1] if classes else None)
    return ConfigDefaults(dict(_defaults(configuration.classes[chosen])) if chosen else {})


def configuration_class(tree: Tree, causal: str) -> str | None:
    """The configuration class that the causal class is built from: by annotations, else by what the file assigns."""
    return next((name for name in _named(tree, causal) if name), None)


def _named(tree: Tree, causal: str) -> Iterator[str | None]:
    init = methods(tree.classes[causal]).get("__init__")
    for parameter in parameters_of(init) if init is not None else ():
        if parameter.annotation is not None:
            yield dotted(parameter.annotation.annotation)
    for node in tree.classes.values():
        for item in statements(node.body):
            if isinstance(item, cst.AnnAssign) and dotted(item.target) == "config":
                yield dotted(item.annotation.annotation)
            elif isinstance(item, cst.Assign) and dotted(item.targets[0].target) == "config_class":
                yield dotted(item.value)


def _defaults(node: cst.ClassDef) -> Iterator[tuple[str, Any]]:
    init = methods(node).get("__init__")
    found = list(default_values(init).items()) if init is not None else []
    for item in statements(node.body):
        if isinstance(item, cst.AnnAssign) and isinstance(item.target, cst.Name) and item.value is not None:
            found.append((item.target.value, item.value))
        elif isinstance(item, cst.Assign) and isinstance(item.targets[0].target, cst.Name):
            found.append((item.targets[0].target.value, item.value))
    for name, default in found:
        try:
            value = literal(default)
        except (NotLiteral, TypeError):
            continue
        if value is not None:
            yield name, value

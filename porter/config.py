"""Default values of a configuration class, read from its source: what a rule's guards are checked against."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Any

from porter.parse import Parsed, defaults_of, methods


@dataclass(frozen=True)
class ConfigDefaults:
    """Class attributes and `__init__` defaults of the configuration class, by name; literals only."""

    values: dict[str, Any]

    def value_of(self, node: ast.expr) -> Any:
        """The value of a literal, or the default behind `config.name` and `self.config.name`; None when unknown."""
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("config", "self.config"):
            return self.values.get(node.attr)
        return None


def read_defaults(configuration: Parsed | None, name: str | None) -> ConfigDefaults:
    """Defaults of the class `name`, or of the file's last configuration class."""
    if configuration is None:
        return ConfigDefaults({})
    classes = [n for n in configuration.classes if n.endswith("Config")]
    chosen = name if name in configuration.classes else (classes[-1] if classes else None)
    return ConfigDefaults(dict(_defaults(configuration.classes[chosen])) if chosen else {})


def _defaults(node: ast.ClassDef) -> list[tuple[str, Any]]:
    found: list[tuple[str, ast.expr]] = []
    init = methods(node).get("__init__")
    if init is not None:
        found += defaults_of(init).items()
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value:
            found.append((statement.target.id, statement.value))
        elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            found.append((statement.targets[0].id, statement.value))
    return [(name, value) for name, default in found if (value := _literal(default)) is not None]


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None

"""Default values of the configuration a model is built from, read from its source: what guards are checked against.

Contract: the class is found wherever the import of the modeling file leads, and what it inherits from classes that can
be found too. What cannot be read is not known, never guessed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libcst as cst

from porter.diagnostics import Refused
from porter.source import Companion
from porter.source.defining import file_defining
from porter.tree import Node, Tree, parse
from porter.tree.functions import default_values, methods, parameter_names, parameters_of, statements
from porter.tree.names import dotted
from porter.tree.values import NotLiteral, constant, is_constant, literal

_DEEPEST = 8  # classes between a configuration and the library's own
_LIBRARY_S_OWN = ("PreTrainedConfig", "PretrainedConfig")


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


def defaults_of(
    companion: Companion | None, tree: Tree, causal: str, file: Path | None = None
) -> ConfigDefaults | Refused:
    """Defaults of the configuration class that the causal class is built from.

    `file`: where the modeling file lies; its imports are followed from there. `companion`: the configuration beside it.
    """
    name = configuration_class(tree, causal)
    if name in tree.classes:
        return ConfigDefaults(_with_inherited(tree, name, file))
    beside = None if companion is None else parse(companion.text, companion.name, companion.path, tree.package)
    if isinstance(beside, Refused):
        return beside
    if beside is not None and name in beside.classes:
        return ConfigDefaults(_with_inherited(beside, name, companion.path if companion else None))
    found = _imported(tree, name, file) if name else None
    if found is not None:
        return ConfigDefaults(_with_inherited(*found))
    return read_defaults(beside, name) if beside is not None else ConfigDefaults({})


def read_defaults(configuration: Tree, name: str | None) -> ConfigDefaults:
    """Defaults of the class `name`, or of the file's last configuration class."""
    classes = [n for n in configuration.classes if n.endswith("Config")]
    chosen = name if name in configuration.classes else (classes[-1] if classes else None)
    return ConfigDefaults(_with_inherited(configuration, chosen, None) if chosen else {})


def configuration_class(tree: Tree, causal: str) -> str | None:
    """The configuration class that the causal class is built from: by annotations, else by what the file assigns."""
    return next((name for name in _named(tree, causal) if name), None)


def _named(tree: Tree, causal: str) -> Iterator[str | None]:
    init = methods(tree.classes[causal]).get("__init__")
    for parameter in parameters_of(init) if init is not None else ():
        if parameter.annotation is not None:
            yield _class_in(parameter.annotation)
    for node in tree.classes.values():
        for item in statements(node.body):
            if isinstance(item, cst.AnnAssign) and dotted(item.target) == "config":
                yield _class_in(item.annotation)
            elif isinstance(item, cst.AnnAssign | cst.Assign) and _target(item) == "config_class":
                yield dotted(item.value) if item.value is not None else None


def _target(assignment: cst.AnnAssign | cst.Assign) -> str | None:
    return dotted(assignment.target if isinstance(assignment, cst.AnnAssign) else assignment.targets[0].target)


def _class_in(annotation: cst.Annotation) -> str | None:
    """The class that an annotation names, in quotes or not."""
    said = annotation.annotation
    if not isinstance(said, cst.SimpleString):
        return dotted(said)
    quoted = constant(said)
    return quoted if isinstance(quoted, str) and all(map(str.isidentifier, quoted.split("."))) else None


def _imported(tree: Tree, name: str, file: Path | None) -> tuple[Tree, str, Path] | None:
    """The file that an imported class is defined in, parsed, its name there, and where it lies."""
    root, _, rest = name.partition(".")
    item = tree.imports.get(root)
    if item is None or file is None:
        return None
    module, level, wanted = item.module, item.level, item.name
    if rest:  # `import library.part` and `library.part.XConfig`, or `from library import part` and `part.XConfig`
        *inner, wanted = rest.split(".")
        start = root if item.name is None and item.bound == item.module.split(".")[0] else item.module
        module = ".".join([*(part for part in (start, item.name) if part), *inner])
    if wanted is None or wanted == "*":
        return None
    found = file_defining(wanted, module, level, file, tree.package)
    if found is None:
        return None
    path, package = found
    try:
        parsed = parse(path.read_text(encoding="utf-8"), path.name, path, package)
    except (OSError, UnicodeDecodeError):
        return None
    if isinstance(parsed, Refused):
        return None
    return (parsed, wanted, path) if wanted in parsed.classes else None


def _with_inherited(tree: Tree, name: str, file: Path | None, depth: int = 0) -> dict[str, Any]:
    """Defaults of a class over those of its bases; what a class sets to what is no literal is not known any more."""
    node = tree.classes[name]
    values: dict[str, Any] = {}
    for base in reversed([dotted(argument.value) for argument in node.bases]):
        if base is None or base == name or base.split(".")[-1] in _LIBRARY_S_OWN or depth > _DEEPEST:
            continue
        found = (tree, base, file) if base in tree.classes else _imported(tree, base, file)
        if found is not None:
            values.update(_with_inherited(*found, depth + 1))
    for field, default in _set(node):
        try:
            value = literal(default) if default is not None else None
        except (NotLiteral, TypeError):
            value = None
        values.pop(field, None)
        if value is not None:
            values[field] = value
    return values


def _set(node: cst.ClassDef) -> Iterator[tuple[str, Node | None]]:
    """What a class sets: parameters of `__init__`, class attributes, and what it hands to its base's `__init__`."""
    init = methods(node).get("__init__")
    if init is not None:
        yield from default_values(init).items()
    for item in statements(node.body):
        if isinstance(item, cst.AnnAssign) and isinstance(item.target, cst.Name) and item.value is not None:
            yield item.target.value, item.value
        elif isinstance(item, cst.Assign) and isinstance(item.targets[0].target, cst.Name):
            yield item.targets[0].target.value, item.value
    if init is not None:
        yield from _handed_on(init)


def _handed_on(init: cst.FunctionDef) -> Iterator[tuple[str, Node | None]]:
    """`super().__init__(hidden_act="gelu")`: keywords that are no parameter of its own by the same name."""
    own = parameter_names(init)
    for item in statements(init.body):
        call = item.value if isinstance(item, cst.Expr) else None
        if isinstance(call, cst.Call) and isinstance(call.func, cst.Attribute) and call.func.attr.value == "__init__":
            for argument in call.args:
                if argument.keyword is not None and dotted(argument.value) not in own & {argument.keyword.value}:
                    yield argument.keyword.value, argument.value

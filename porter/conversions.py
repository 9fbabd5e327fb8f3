"""Which parameters the source library makes out of other tensors when it loads a checkpoint of a model type.

Such a parameter cannot be merged: the library's conversion would look for it in the port. The table is read as text,
and parsed only where it names the model type.
"""

from __future__ import annotations

import ast
from pathlib import Path

TABLE = "conversion_mapping.py"


def converted_parameters(modeling_file: Path, package: str | None) -> frozenset[str]:
    """Names of parameters, as dotted tails, that conversions of this file's model type write."""
    if package is None:
        return frozenset()
    model_type = modeling_file.parent.name
    root = next((parent for parent in modeling_file.parents if parent.name == package), None)
    if root is None or not (root / TABLE).is_file():
        return frozenset()
    text = (root / TABLE).read_text()
    if f'"{model_type}": [' not in text:
        return frozenset()
    return frozenset(_targets(ast.parse(text), model_type))


def _targets(tree: ast.Module, model_type: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Dict):
            continue
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == model_type:
                calls = [call for call in ast.walk(value) if isinstance(call, ast.Call)]
                for call in calls:
                    if getattr(call.func, "id", "") == "WeightConverter":
                        found |= _strings(call)
    return found


def _strings(call: ast.Call) -> set[str]:
    """The target patterns of one converter."""
    targets = [k.value for k in call.keywords if k.arg == "target_patterns"] + call.args[1:2]
    return {node.value for target in targets for node in ast.walk(target) if _is_text(node)}  # type: ignore[attr-defined]


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)

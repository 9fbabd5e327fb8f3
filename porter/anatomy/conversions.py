"""Which parameters the source library makes out of other tensors when it loads a checkpoint of a model type.

Such a parameter cannot be merged: the library's conversion would look for it in the port. The table is parsed only
where it names the model type.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import libcst as cst

from porter.diagnostics import Refused
from porter.tree import Node, parse
from porter.tree.fields import walk
from porter.tree.names import last_name
from porter.tree.values import text_of_constant

TABLE = "conversion_mapping.py"


def converted_parameters(modeling_file: Path, package: str | None) -> frozenset[str]:
    """Names of parameters, as dotted tails, that conversions of this file's model type write."""
    if package is None:
        return frozenset()
    model_type = modeling_file.parent.name
    root = next((parent for parent in modeling_file.parents if parent.name == package), None)
    if root is None or not (root / TABLE).is_file():
        return frozenset()
    text = (root / TABLE).read_text(encoding="utf-8")
    if f'"{model_type}": [' not in text:
        return frozenset()
    return _targets(text).get(model_type, frozenset())


@lru_cache(maxsize=2)
def _targets(text: str) -> dict[str, frozenset[str]]:
    """The target patterns of the converters of each model type."""
    tree = parse(text, TABLE)
    if isinstance(tree, Refused):
        return {}
    found: dict[str, set[str]] = {}
    for node in tree.nodes(tree.module):
        if isinstance(node, cst.DictElement):
            key = text_of_constant(node.key)
            if key is not None:
                found.setdefault(key, set()).update(_of_converters(node.value))
    return {key: frozenset(names) for key, names in found.items()}


def _of_converters(value: Node) -> Iterator[str]:
    for call in walk(value):
        if isinstance(call, cst.Call) and last_name(call.func) == "WeightConverter":
            plain = [argument.value for argument in call.args if argument.keyword is None and not argument.star]
            named = [a.value for a in call.args if a.keyword is not None and a.keyword.value == "target_patterns"]
            for target in (*named, *plain[1:2]):
                yield from filter(None, map(text_of_constant, walk(target)))

"""Decorators that a rewrite knows: what they do does not hang on the function's parameters or body."""

from __future__ import annotations

import libcst as cst

from porter.release.words import HUB_DECORATORS, RENAMING_DECORATORS
from porter.tree import Tree
from porter.tree.names import decorator_name, dotted

# Sends a call past the class's own forward to what the configuration names, and gives the class these attributes.
DISPATCHING_DECORATORS = frozenset({"use_experts_implementation"})
DISPATCHED_BY = frozenset(
    {"config", "has_gate", "has_bias", "has_post_expert_norm", "is_transposed", "is_concatenated"}
    | {"_is_expert_parallel", "_apply_gate"}
)
HARMLESS_DECORATORS = HUB_DECORATORS | RENAMING_DECORATORS | {"auto_docstring", "no_grad"}
_LIBRARIES = frozenset({"torch", "transformers"})
_BUILTIN = frozenset({"classmethod", "property", "staticmethod"})


def is_hub_decorator(decorator: cst.Decorator, tree: Tree) -> bool:
    """The library's mark of what a kernel of the hub may take the place of."""
    return decorator_name(decorator) in HUB_DECORATORS and is_of_libraries(decorator, tree)


def is_of_libraries(decorator: cst.Decorator, tree: Tree) -> bool:
    """Whether a decorator is Python's, torch's or transformers' own: not one of the file, which may do anything."""
    called = decorator.decorator
    name = dotted(called.func if isinstance(called, cst.Call) else called)
    if name is None:
        return False
    root = name.split(".")[0]
    items = tree.alternatives.get(root, [])
    if not items:
        return name in _BUILTIN and not tree.module_bindings[root]
    packages = {(item.qualified(tree.package) or "").split(".")[0] for item in items}
    return tree.module_bindings[root] == len(items) and packages <= _LIBRARIES

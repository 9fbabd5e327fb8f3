"""A call of an op as TorchAir's converters get it, and a GE node as they make it -> plain data for `arrived`.

Contract: runs in the worker's process. A node leaves out an attribute that is at its default; defaults are those of the
function that makes such a node.
"""

from __future__ import annotations

import inspect
from typing import Any

from torchair._ge_concrete_graph import auto_generated_ge_raw_ops

from porter.lowering.arrived import Argument, Made


def arguments(target: Any, passed: Any, named: dict[str, Any]) -> list[Argument]:
    """What the op was called with, in the order of its schema."""
    found: list[Argument] = []
    for index, declared in enumerate(target._schema.arguments):
        if index < len(passed) and not declared.kwarg_only:
            value = passed[index]
        elif declared.name in named:
            value = named[declared.name]
        else:
            continue
        default = declared.default_value if declared.has_default_value() else None
        tensors = [_tensor(item) for item in value] if isinstance(value, (list, tuple)) else [_tensor(value)]
        if any(tensors):  # of a list, each is an argument
            found.extend(Argument(declared.name, None, default, tensor) for tensor in tensors)
        else:
            found.append(Argument(declared.name, value, default))
    return found


def _tensor(value: Any) -> str | None:
    """The name of the GE tensor that a value of the conversion is."""
    return getattr(getattr(value, "npu", value), "tensor", None)


def node(op: Any) -> Made:
    """A GE node with the defaults of its attributes."""
    maker = getattr(auto_generated_ge_raw_ops, op.type, None)
    parameters = inspect.signature(maker).parameters.values() if maker is not None else ()
    attributes = {
        parameter.name: parameter.default
        for parameter in parameters
        if isinstance(parameter.default, (bool, int, float, str))
    }
    attributes |= {name: _value(attribute) for name, attribute in op.attr.items()}
    names = [description.name for description in op.input_desc]
    return Made(op.name, op.type, attributes, dict(zip(names, op.input, strict=False)))


def _value(attribute: Any) -> Any:
    kind = attribute.WhichOneof("value")
    if kind == "list":
        return list(attribute.list.i)
    value = getattr(attribute, kind) if kind else None
    return value.decode(errors="replace") if isinstance(value, bytes) else value

"""What a call of an npu op asks for, beside the GE nodes that TorchAir made of it: what did not arrive.

Why: a converter may drop an argument and say nothing; the graph then computes something else than the eager op.
Contract: plain data in and out. An argument has arrived where a node has an attribute of its name and value, or an
input for it; one that is left at the op's default need not be there. Tensors arrive as inputs from outside: by the name
of their GE tensor, or, where TorchAir took a view apart and made it again, as one that no other argument explains.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Where a node calls an attribute otherwise than the op's schema does; values of the schema -> of the node.
_RENAMED: dict[str, tuple[str, Mapping[str, int]]] = {
    "rotary_mode": ("mode", {"half": 0, "interleave": 1, "quarter": 2, "interleave-half": 3}),
    "hcom": ("group", {}),
}


@dataclass(frozen=True)
class Argument:
    """One argument of a call: a value and the schema's default, or the name of a GE tensor."""

    name: str
    value: Any = None
    default: Any = None
    tensor: str | None = None


@dataclass(frozen=True)
class Made:
    """A GE node: attributes with its own defaults filled in, what its inputs are called -> the tensors they take."""

    name: str
    type: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)


def lost(arguments: Sequence[Argument], nodes: Sequence[Made]) -> str | None:
    """The first argument that did not arrive, as a sentence; None where all did."""
    into = ", ".join(dict.fromkeys(node.type for node in nodes if node.type != "Const")) or "no node"
    own = {node.name for node in nodes}
    taken = [tensor for node in nodes for tensor in node.inputs.values() if tensor.rpartition(":")[0] not in own]
    unseen = []
    for argument in arguments:
        if argument.tensor is None:
            if not _arrived(argument, nodes):
                return f"`{argument.name}={argument.value!r}` does not arrive in what it becomes, {into}"
        elif argument.tensor in taken:
            taken.remove(argument.tensor)
        else:
            unseen.append(argument.name)
    if len(unseen) > sum(map(bool, taken)):
        return f"`{unseen[-1]}` is no input of what it becomes, {into}"
    return None


def _arrived(argument: Argument, nodes: Sequence[Made]) -> bool:
    name, values = _RENAMED.get(argument.name, (argument.name, {}))
    wanted = values.get(argument.value, argument.value) if isinstance(argument.value, str) else argument.value
    found = [node.attributes[name] for node in nodes if name in node.attributes]
    if found:
        return any(_same(wanted, value) for value in found)
    if any(node.inputs.get(name) for node in nodes):  # lists of lengths are inputs
        return True
    return argument.value is None or _same(argument.value, argument.default)


def _same(wanted: Any, found: Any) -> bool:
    if isinstance(wanted, float) or isinstance(found, float):
        return isinstance(found, (int, float)) and math.isclose(wanted, found, rel_tol=1e-6)  # nodes hold float32
    return bool(wanted == found)

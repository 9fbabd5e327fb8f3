"""A node computed by a kernel: inputs and attributes by the names that the operator's definition gives them.

Contract: a kernel is a function with the operator's inputs as parameters, in the definition's own names (a trailing
underscore where Python reserves the name; `Tensors` for an input that is a list; a default where it is optional), and
its attributes as keywords with the definition's defaults. What a node feeds or says and a kernel has no place for is
refused: an attribute may stand at the one value that the kernel computes, in `only`. A kernel's result must have the
data types that the node declares.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch

from porter.graph.types import NAMED, UNDEFINED
from porter.graph.values import Node
from porter.npu import ContractError

Tensors: TypeAlias = list[torch.Tensor]


class CannotCompute(Exception):
    """A node that is not computed here; the text says why."""

    def __init__(self, node: Node, reason: str) -> None:
        super().__init__(reason)
        self.node = node
        self.reason = reason


@dataclass(frozen=True)
class Kernel:
    """`only`: attributes that it computes at one value."""

    compute: Callable[..., Any]
    only: Mapping[str, Any] = field(default_factory=dict)


def compute(node: Node, kernel: Kernel, tensors: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """The node's outputs, contiguous as a device has them. CannotCompute where the kernel does not take the node, or
    the arithmetic refuses what it is given."""
    fed = _inputs(node, kernel, tensors)
    said = _attributes(node, kernel)
    try:
        made = kernel.compute(**fed, **said)
    except (ContractError, RuntimeError, ValueError, IndexError, TypeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise CannotCompute(node, f"`{node.type}` refuses its inputs: {reason}") from error
    outputs = tuple(made) if isinstance(made, (tuple, list)) else (made,)
    _check(node, outputs)
    return tuple(tensor.contiguous() for tensor in outputs)


@functools.cache
def _parameters(function: Callable[..., Any]) -> tuple[dict[str, inspect.Parameter], dict[str, inspect.Parameter]]:
    """Inputs and attributes, by the operator's names."""
    inputs: dict[str, inspect.Parameter] = {}
    attributes: dict[str, inspect.Parameter] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        kind = attributes if parameter.kind is parameter.KEYWORD_ONLY else inputs
        kind[name.rstrip("_")] = parameter
    return inputs, attributes


def _inputs(node: Node, kernel: Kernel, tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    inputs, _ = _parameters(kernel.compute)
    lists = {name for name, parameter in inputs.items() if parameter.annotation == "Tensors"}
    found: dict[str, Any] = {inputs[name].name: [] for name in lists}
    for name, tensor in node.inputs:
        if not tensor:
            continue
        stem = name.rstrip("0123456789")
        if name in inputs and name not in lists:
            found[inputs[name].name] = tensors[tensor]
        elif stem in lists:
            found[inputs[stem].name].append(tensors[tensor])
        else:
            raise CannotCompute(node, f"input `{name}` of `{node.type}` is not computed with here")
    for name, parameter in inputs.items():
        if parameter.name not in found and parameter.default is parameter.empty:
            raise CannotCompute(node, f"`{node.type}` has no input `{name}`")
    return found


def _attributes(node: Node, kernel: Kernel) -> dict[str, Any]:
    _, attributes = _parameters(kernel.compute)
    found = {}
    for name, value in node.attributes.items():
        if name in attributes:
            found[attributes[name].name] = value
        elif name not in kernel.only or kernel.only[name] != value:
            raise CannotCompute(node, f"attribute `{name}={value!r}` of `{node.type}` is not computed here")
    for name, parameter in attributes.items():
        if parameter.name not in found and parameter.default is parameter.empty:
            raise CannotCompute(node, f"`{node.type}` has no attribute `{name}`")
    return found


def _check(node: Node, outputs: tuple[torch.Tensor, ...]) -> None:
    if len(outputs) != len(node.outputs):
        counts = f"{len(outputs)} outputs, where the graph has {len(node.outputs)}"
        raise CannotCompute(node, f"`{node.type}` gives {counts}")
    for made, declared in zip(outputs, node.outputs, strict=True):
        if declared.dtype != UNDEFINED and NAMED.get(declared.dtype) != made.dtype:
            given = str(made.dtype).removeprefix("torch.")
            raise CannotCompute(
                node, f"output `{declared.name}` of `{node.type}` is {given}, where the graph has {declared.dtype}"
            )

"""One run of a graph: nodes in order, each by its kernel.

Contract: inputs are tensors by the `index` of Data nodes. What the graph writes in place it writes into them: through
an operator that updates its input (Scatter, Assign), or by an output that is an input's memory. Memory is contiguous,
as a device has it; a tensor of the caller's that is not is read before and written back after.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from porter.graph.call import CannotCompute, compute
from porter.graph.kernels import KERNELS
from porter.graph.types import NAMED, tensor_of
from porter.graph.values import Graph, Node


def run(graph: Graph, given: Sequence[torch.Tensor]) -> torch.Tensor:
    """The logits. CannotCompute at the first node that is not computed here."""
    memory = [tensor.contiguous() for tensor in given]
    values: dict[str, torch.Tensor] = {}
    outputs: list[torch.Tensor] = []
    for node in graph.nodes:
        if node.type == "NetOutput":
            outputs = [values[tensor] for _, tensor in node.inputs]
            continue
        for index, tensor in enumerate(_made(node, memory, values)):
            values[f"{node.name}:{index}"] = tensor
    for output, place in graph.assigned:
        memory[place].copy_(outputs[output])
    for own, theirs in zip(memory, given, strict=True):
        if own is not theirs:
            theirs.copy_(own)
    return outputs[graph.logits]


def _made(node: Node, memory: Sequence[torch.Tensor], values: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
    if node.type == "Data":
        return (_input(node, memory),)
    if node.type in ("Const", "ConstPlaceHolder"):
        return (_constant(node),)
    if node.type not in KERNELS:
        raise CannotCompute(node, f"no kernel for `{node.type}`")
    return compute(node, KERNELS[node.type], values)


def _input(node: Node, memory: Sequence[torch.Tensor]) -> torch.Tensor:
    tensor, (declared,) = memory[node.attributes["index"]], node.outputs
    if NAMED.get(declared.dtype) != tensor.dtype or declared.shape != tuple(tensor.shape):
        given, wanted = f"{tuple(tensor.shape)} of {tensor.dtype}", f"{declared.shape} of {declared.dtype}"
        raise CannotCompute(node, f"input {node.name} is {given}, where the graph has {wanted}")
    return tensor


def _constant(node: Node) -> torch.Tensor:
    try:
        return tensor_of(node.attributes.get("value", {}))
    except (ValueError, RuntimeError) as error:
        raise CannotCompute(node, f"the constant {node.name}: {error}") from error

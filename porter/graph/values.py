"""A GE graph as values: what TorchAir's protobuf says, and nothing else.

Contract: frozen; made from the plain data that the lowering process hands over. Nodes stand in an order in which they
can be computed: that of their data and control edges, and of the protobuf where these leave it open.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Described:
    """A tensor's description: its name in the operator, its data type; the shape of graph inputs and constants."""

    name: str
    dtype: str
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Node:
    """`inputs`: (name in the operator, tensor `NODE:INDEX`, empty where none is fed); `after`: nodes to wait for."""

    name: str
    type: str
    inputs: tuple[tuple[str, str], ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    outputs: tuple[Described, ...] = ()
    after: tuple[str, ...] = ()
    frames: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Graph:
    """`inputs`: names of the tensors by the `index` of Data nodes; `constants`: values of those that only the port's
    code keeps; `assigned`: (output, input whose memory it is); `logits`: which output they are."""

    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    constants: Mapping[str, Any] = field(default_factory=dict)
    assigned: tuple[tuple[int, int], ...] = ()
    logits: int = 0


def graph_of(plain: Mapping[str, Any]) -> Graph:
    return Graph(
        in_order(map(_node, plain["nodes"])),
        tuple(plain["inputs"]),
        plain["constants"],
        tuple((output, place) for output, place in plain["assigned"]),
        plain["logits"],
    )


def _node(plain: Mapping[str, Any]) -> Node:
    return Node(
        plain["name"],
        plain["type"],
        tuple((name, tensor) for name, tensor in plain["inputs"]),
        plain["attributes"],
        tuple(Described(each["name"], each["dtype"], tuple(each["shape"])) for each in plain["outputs"]),
        tuple(plain["after"]),
        tuple((file, line) for file, line in plain["frames"]),
    )


def in_order(nodes: Iterable[Node]) -> tuple[Node, ...]:
    """After all that they need, else as they stood. ValueError where some need each other, or what is not there."""
    waiting, done, ordered = list(nodes), set[str](), list[Node]()
    while waiting:
        left = []
        for node in waiting:
            if _needs(node) <= done:
                done.add(node.name)
                ordered.append(node)
            else:
                left.append(node)
        if len(left) == len(waiting):
            raise ValueError(f"no order: {left[0].name} waits for {', '.join(sorted(_needs(left[0]) - done))}")
        waiting = left
    return tuple(ordered)


def _needs(node: Node) -> set[str]:
    return {tensor.rpartition(":")[0] for _, tensor in node.inputs if tensor} | set(node.after)

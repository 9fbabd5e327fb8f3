"""Lengths for the attention of a compiled step: TorchAir's op takes them as a tensor, torch_npu's as numbers alone.

Why: a step that is compiled knows no number of tokens, so its mask alone says what is read, and there is a report of a
card that ignores a mask of one row past position 512. Contract: a pass over a graph that is about to be converted. A
fused attention over keys that were written to a cache in the same graph reads up to where they end, which is the
position that the step leaves behind: as a rule a tensor that the graph has already. What is not clearly that stays as
it is. Mode max-autotune only: TorchAir's op is of no other.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node

_SLOTS = 1  # the axis of a cache (B, slots, N, D) that a step is written along
_ATTENTION, _WRITE = "npu.npu_fused_infer_attention_score.default", "npu.scatter_update.default"
WITH_LENGTHS = "torchair.ops._npu_fused_infer_attention_score"  # defines the op; imported by nobody else


def pass_lengths(module: GraphModule, inputs: Any = None, config: Any = None) -> None:
    """Give lengths to every fused attention over a cache that has none."""
    calls = [node for node in module.graph.nodes if _lacks_lengths(node)]
    writes = [_write_behind(call.args[1]) for call in calls]
    for call, write in zip(calls, writes, strict=True):
        if write is not None and _slots(call.args[1]) == _slots(write):
            lengths = _end_of(write, module.graph, calls[0])
            call.target = attention_with_lengths()
            call.update_kwarg("actual_seq_lengths_kv", lengths)
    module.graph.lint()
    module.recompile()


def attention_with_lengths() -> torch._ops.OpOverload:
    """The op of TorchAir."""
    importlib.import_module(WITH_LENGTHS)
    return torch.ops.air.npu_fused_infer_attention_score.default


def _lacks_lengths(node: Node) -> bool:
    return (
        str(node.target) == _ATTENTION
        and node.kwargs.get("actual_seq_lengths_kv") is None
        and node.kwargs.get("input_layout") == "BSND"
    )


def _slots(node: Node) -> Any:
    return node.meta["val"].shape[_SLOTS]


def _write_behind(key: Node) -> Node | None:
    """The one write that all of `key` is made of: states of the cache, as they are or projected. Weights have no say.

    None where keys come of anything else, and where two writes do not end at one place.
    """
    found: list[Node] = []
    seen: set[Node] = set()
    left = [key]
    while left:
        node = left.pop()
        if node in seen:
            continue
        seen.add(node)
        if str(node.target) == _WRITE and node.args[3] == _SLOTS:
            found.append(node)
        elif node.op == "placeholder":
            if not _is_weight(node):
                return None
        elif node.op == "call_function" and str(node.target) not in (_ATTENTION, "aten.embedding.default"):
            left.extend(node.all_input_nodes)
        elif node.op != "get_attr":
            return None
    return found[0] if found and all(_ends_with(each, found[0]) for each in found) else None


def _is_weight(node: Node) -> bool:
    value = node.meta["val"]
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _ends_with(write: Node, other: Node) -> bool:
    return write.args[1] is other.args[1] and _steps(write) == _steps(other)


def _steps(write: Node) -> str:
    """How many positions are written, as a name: a size may be a symbol."""
    states = write.args[2]
    assert isinstance(states, Node)
    return str(states.meta["val"].shape[_SLOTS])


def _end_of(write: Node, graph: Graph, first: Node) -> Node:
    """A tensor (B,) int64 of the positions behind a write, there before `first`: the graph's own where it has one."""
    positions, states = write.args[1:3]
    assert isinstance(positions, Node) and isinstance(states, Node)
    order = {node: place for place, node in enumerate(graph.nodes)}
    own = next((node for node in positions.users if _adds(node, positions, _steps(write))), None)
    if own is not None and order[own] < order[first]:
        return own
    with graph.inserting_before(first):
        steps = own.args[1] if own is not None else states.meta["val"].shape[_SLOTS]
        if isinstance(steps, torch.SymInt) or (isinstance(steps, Node) and order[steps] > order[first]):
            steps = graph.call_function(torch.ops.aten.sym_size.int, (states, _SLOTS))
            steps.meta["val"] = states.meta["val"].shape[_SLOTS]
        end = graph.call_function(torch.ops.aten.add.Tensor, (positions, steps))
        end.meta = dict((own or write).meta) | {"val": positions.meta["val"]}
    if own is not None:
        own.replace_all_uses_with(end)
        graph.erase_node(own)
    return end


def _adds(node: Node, positions: Node, steps: str) -> bool:
    if node.target is not torch.ops.aten.add.Tensor or node.args[0] is not positions or node.kwargs:
        return False
    added = node.args[1]
    return str(added.meta["val"] if isinstance(added, Node) else added) == steps

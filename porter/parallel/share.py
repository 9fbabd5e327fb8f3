"""A rank's share of a model by its shapes alone, on the meta device: what `shard` would leave of it.

Contract: the model is built whole, so that sizes which the code works out of one another, such as head_dim from
hidden_size and the number of heads, are those of the model; then its layers are cut: what the port's `weight_splits`
name, as they say, and the rest as DeepSpeed does it: outputs of the policy by columns, all other linears by rows, and
the counts of heads that a module keeps. Nothing is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from porter.parallel.cut import cut_weights
from porter.parallel.divide import CannotShard
from porter.parallel.layers import layers_to_split
from porter.parallel.rows import keep_own_sizes

_COUNTS = ("num_heads", "num_attention_heads", "num_key_value_heads", "num_kv_heads", "n_heads", "kv_n_heads")


def cut_shapes(model: Any, layer_class: str, outputs: Sequence[str], world_size: int) -> None:
    """Leave one rank's share of `model`, which is on the meta device. Raises CannotShard where a cut is not even,
    or where nobody has shown that it would be right, as `shard` does."""
    layers = layers_to_split(model, layer_class, outputs, world_size)
    cut_weights(layers.each, 0, world_size)
    for layer in layers.each:
        for path, module in layer.modules.items():
            if path in layer.linears.keys() - layer.own_linears.keys():
                _cut(layer.linears[path], path, path in layer.outputs, world_size)
            for name in _COUNTS:
                value = getattr(module, name, None)
                if isinstance(value, int):
                    setattr(module, name, value // world_size)
    keep_own_sizes(layers.merges, world_size)


def _cut(linear: nn.Linear, path: str, by_columns: bool, world_size: int) -> None:
    rows, columns = linear.weight.shape
    if (columns if by_columns else rows) % world_size:
        size = columns if by_columns else rows
        raise CannotShard(f"`{path}` has {size} {'columns' if by_columns else 'rows'}: not {world_size} equal parts")
    if by_columns:
        columns //= world_size
    else:
        rows //= world_size
    linear.weight = nn.Parameter(linear.weight.new_empty(rows, columns), requires_grad=False)
    if linear.bias is not None:
        linear.bias = nn.Parameter(torch.empty_like(linear.weight[:, 0]), requires_grad=False)

"""Merged projections over ranks: their rows put in an order that a plain cut into equal pieces divides by heads.

    rows of a merge      [q ; k ; v]
    for two ranks        [q0; k0; v0 | q1; k1; v1]     q0: the first half of the query heads, and so on

Contract: changes a loaded model in memory, one weight at a time; checkpoints are never rewritten. A model whose rows
were reordered computes right only after the cut, and only with `keep_own_sizes` behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import nn

from porter.parallel.divide import CannotShard
from porter.runtime.weights import RowMerge, merges_of


def merges_in(model: nn.Module, layers: Iterable[nn.Module]) -> Iterator[tuple[RowMerge, nn.Module]]:
    """Each merge inside `layers` of `model`, with the module that owns it."""
    merges = merges_of(model)
    for layer in layers:
        for merge in merges:
            for _, owner in merge.owners(layer):
                yield merge, owner


def check_merges(owned: Iterable[tuple[RowMerge, nn.Module]], world_size: int) -> None:
    """Raise CannotShard where a part of a merge has rows that do not divide over the ranks."""
    for merge, owner in owned:
        rows = getattr(owner, merge.name).weight
        for part, piece in zip(merge.parts, merge.split(owner, rows), strict=True):
            if piece.shape[0] % world_size:
                raise CannotShard(
                    f"`{part}` in `{merge.name}` of {type(owner).__name__} has {piece.shape[0]} rows: they do not "
                    f"divide over tensor-parallel size {world_size}"
                )


@torch.no_grad()
def order_by_rank(owned: Iterable[tuple[RowMerge, nn.Module]], world_size: int) -> None:
    """Reorder the rows of every merge, weight and bias. One merged weight is copied at a time."""
    for merge, owner in owned:
        for parameter in getattr(owner, merge.name).parameters(recurse=False):
            parts = merge.split(owner, parameter.data)
            parameter.data = torch.cat([part.chunk(world_size)[rank] for rank in range(world_size) for part in parts])


def keep_own_sizes(owned: Iterable[tuple[RowMerge, nn.Module]], world_size: int) -> None:
    """After the cut: the rows of each part that a rank has. Equal parts need no number."""
    for merge, owner in owned:
        if merge.sizes is not None:
            setattr(owner, merge.sizes, [size // world_size for size in getattr(owner, merge.sizes)])

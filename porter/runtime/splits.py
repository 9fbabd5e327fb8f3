"""How ranks share the weights that no linear of a plan holds: experts, sinks, the projections of latent attention.

    pieces   [a b c d]         [a b | c d]         equal ones along the dimension, one a rank
    halves   [g0 g1 u0 u1]     [g0 u0 | g1 u1]     gate before up: each in pieces
    pairs    [g0 u0 g1 u1]     [g0 u0 | g1 u1]     gate and up side by side: as pieces, and no pair is parted
    once     [a b c d]         [a b c d | 0 0 0 0] what is added to a sum over ranks
    whole    [a b c d]         [a b c d | a b c d]

Contract: data of a port, from the rules that made it; what is cut, and when, is `porter.parallel`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

_TOGETHER = {"pieces": 1, "halves": 2, "pairs": 2}  # numbers along the dimension that go to one rank


@dataclass(frozen=True)
class WeightSplit:
    """`name`, a parameter or a linear of modules of class `owner`, is split in the way `how` along `dimension`."""

    owner: str
    name: str
    how: str
    dimension: int

    def owners(self, model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
        """Path and module of each place in `model` that holds it; a derived class is one of its base."""
        for path, module in model.named_modules():
            is_owner = any(cls.__name__ == self.owner for cls in type(module).__mro__)
            if is_owner and isinstance(getattr(module, self.name, None), (nn.Module, nn.Parameter)):
                yield path, module

    @property
    def is_cut(self) -> bool:
        """Whether a rank has a part of it."""
        return self.how in _TOGETHER

    def fault(self, shape: torch.Size, ranks: int) -> str | None:
        """Why a weight of that shape has no such equal parts for each of `ranks`, in words."""
        if not self.is_cut:
            return None
        if self.dimension >= len(shape):
            return f"is {tuple(shape)}: it has no dimension {self.dimension}"
        size, together = shape[self.dimension], _TOGETHER[self.how]
        if size % (together * ranks):
            return f"is {tuple(shape)}: {self.how} of its {size} along dimension {self.dimension} do not divide"
        return None

    def part(self, weight: torch.Tensor, rank: int, ranks: int) -> torch.Tensor:
        """What `rank` has of `weight`, in memory of its own where it is less than the whole."""
        if self.how == "whole":
            return weight
        if self.how == "once":
            return weight if rank == 0 else torch.zeros_like(weight)
        parts = weight.chunk(2, self.dimension) if self.how == "halves" else (weight,)
        return torch.cat([part.chunk(ranks, self.dimension)[rank] for part in parts], self.dimension)


def splits_of(model: nn.Module) -> list[WeightSplit]:
    """The `weight_splits` of the model and of every model inside it."""
    return list(dict.fromkeys(split for module in model.modules() for split in getattr(module, "weight_splits", ())))

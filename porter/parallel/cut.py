"""Weights that are no linears of DeepSpeed's, cut as the port's `weight_splits` say.

Contract: in memory and in place, one weight at a time: beside the model there is never more than one rank's part of one
weight. What is cut computes right only where what comes of it is summed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from porter.parallel.layers import Layer


@torch.no_grad()
def cut_weights(layers: Iterable[Layer], rank: int, ranks: int) -> None:
    """Leave `rank` its part of every weight that the port says how to split; linears stay linears, of fewer rows."""
    for layer in layers:
        for held in layer.held:
            for weight in held.weights:
                weight.data = held.split.part(weight.data, rank, ranks)
            if held.path in layer.linears:
                linear = layer.linears[held.path]
                linear.out_features = linear.weight.shape[0]


@contextmanager
def out_of_sight(linears: Iterable[nn.Linear]) -> Iterator[None]:
    """Linears that DeepSpeed, which cuts all that it sees, takes for none."""
    kinds = [(linear, type(linear)) for linear in linears]
    for linear, _ in kinds:
        linear.__class__ = _NoLinear
    try:
        yield
    finally:
        for linear, kind in kinds:
            linear.__class__ = kind


class _NoLinear(nn.Module):
    """Has the weights of a linear, and is none."""

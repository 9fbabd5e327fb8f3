"""Large float32 products on a CPU, by blocks of weight rows.

Why: the float32 library that torch calls on x86 falls behind on a wide weight and several rows of x, by up to 1.6 times
for the merged gate and up of a 7B model (`tests/benchmarks/merged_product.py`). Contract: each number is the same dot
product; blocks are even, so that the library adds it up in the same order at the widths models have (at a few others
the last bits differ). One row, other dtypes and other devices are computed whole. `torch.jit.script` and quantization
by exact type do not know the class.
"""

from __future__ import annotations

import math

import torch
from torch import nn

ROWS = 1024  # of a block, at most
_LARGE = 1 << 24  # bytes: a smaller weight gains nothing


class BlockedLinear(nn.Linear):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if input.dim() < 2 or input.numel() <= input.shape[-1] or input.dtype is not torch.float32 or not input.is_cpu:
            return super().forward(input)
        blocks = math.ceil(self.out_features / ROWS)
        weights = self.weight.chunk(blocks)
        biases = [None] * len(weights) if self.bias is None else self.bias.chunk(blocks)
        parts = [nn.functional.linear(input, *block) for block in zip(weights, biases, strict=True)]
        return torch.cat(parts, dim=-1)


def block_products(model: nn.Module) -> int:
    """Have the large float32 products of `model` computed by blocks, in eager and in compiled steps; returns how many.

    Parameters, hooks and state stay as they are; a module that is not just a Linear is left alone.
    """
    found = [module for module in model.modules() if type(module) is nn.Linear and _is_large(module.weight)]
    for module in found:
        module.__class__ = BlockedLinear
    return len(found)


def _is_large(weight: torch.Tensor) -> bool:
    return weight.is_cpu and weight.dtype is torch.float32 and weight.nbytes >= _LARGE and weight.shape[0] > ROWS

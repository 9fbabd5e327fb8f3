"""Large float32 products on a CPU, by blocks of weight rows.

Why: the float32 library that torch calls on x86 falls behind on a wide weight and several rows of x, by up to 1.8 times
for the merged gate and up of a 7B model (`benchmarks/merged_product.py`). Contract: the numbers are the whole product's
(each is one dot product, whatever block it is in). One row, other dtypes and other devices are computed whole.
"""

from __future__ import annotations

import torch
from torch import nn

ROWS = 1024
_LARGE = 1 << 24  # bytes: a smaller weight gains nothing


class BlockedLinear(nn.Linear):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if input.numel() <= input.shape[-1] or input.dtype is not torch.float32 or not input.is_cpu:
            return super().forward(input)
        weights = self.weight.split(ROWS)
        biases = [None] * len(weights) if self.bias is None else self.bias.split(ROWS)
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

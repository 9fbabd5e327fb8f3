"""What kernels do at the end of a sum: into the memory of a tensor of their own, and one cast.

In place only where nothing is traced: for a long prompt fresh memory costs as much as the arithmetic, and a graph of
these ops must not change a tensor.
"""

import torch

from porter.npu.direct import is_plain


def times(own: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """`own * factor`; `own` is a tensor that the kernel made and needs no more."""
    return own.mul_(factor) if is_plain(own) else own * factor


def sum_of_products(
    own: torch.Tensor, factor: torch.Tensor, other: torch.Tensor, other_factor: torch.Tensor
) -> torch.Tensor:
    """`own * factor + other * other_factor`; `own` is a tensor that the kernel made and needs no more."""
    if is_plain(own):
        return own.mul_(factor).add_(other * other_factor)
    return own * factor + other * other_factor


def rounded(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """float32 values in the op's dtype; `values` itself where that is float32 (asking `to` costs as much as a view)."""
    return values if dtype is values.dtype else values.to(dtype)

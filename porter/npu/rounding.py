"""What kernels do at the end of a sum: into the memory of a tensor of their own, and one cast.

In place only where nothing is traced: for a long prompt fresh memory costs as much as the arithmetic, and a graph of
these ops must not change a tensor.
"""

import torch

from porter.npu.direct import is_plain


def times(own: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """`own * factor`; `own` is a tensor that the kernel made and needs no more."""
    return own.mul_(factor) if is_plain(own) else own * factor


def plus(own: torch.Tensor, term: torch.Tensor) -> torch.Tensor:
    """`own + term`; `own` is a tensor that the kernel made and needs no more."""
    return own.add_(term) if is_plain(own) else own + term


def rounded(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """float32 values in the op's dtype; `values` itself where that is float32 (asking `to` costs as much as a view)."""
    return values if dtype is values.dtype else values.to(dtype)

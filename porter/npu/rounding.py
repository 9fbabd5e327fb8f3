"""The one cast at a kernel's end."""

import torch


def rounded(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """float32 values in the op's dtype; `values` itself where that is float32 (asking `to` costs as much as a view)."""
    return values if dtype is values.dtype else values.to(dtype)

"""Kernels compute in float32 and round once: the two casts, left out where the op's dtype is float32 already (asking
`float` or `to` costs as much as a view)."""

import torch


def widened(values: torch.Tensor) -> torch.Tensor:
    return values if values.dtype is torch.float32 else values.float()


def rounded(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return values if dtype is torch.float32 else values.to(dtype)

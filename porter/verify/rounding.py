"""The distance between neighbours of a dtype: the unit that errors are told in."""

from __future__ import annotations

import torch

_MANTISSA_BITS = {torch.float32: 23, torch.float16: 10, torch.bfloat16: 7}


def ulp(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Distance between neighbours of `dtype` at the magnitude of `values`, in the dtype that these come in."""
    exponent = torch.frexp(values.abs().clamp_min(torch.finfo(dtype).tiny)).exponent
    return torch.ldexp(torch.ones_like(values), exponent - 1 - _MANTISSA_BITS[dtype])

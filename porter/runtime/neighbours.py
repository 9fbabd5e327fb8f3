"""The rotation of neighbours, (x0, x1) to (-x1, x0), as a matrix: what npu_rotary_mul takes as `rotate`.

Why: without a matrix a graph on A2 and A3 rotates halves, whatever the mode says. Contract: a product with it is exact,
each column has one 1 or -1. Made once for a width, dtype and device, and a constant of every graph.
"""

from __future__ import annotations

from functools import lru_cache

import torch


def neighbour_rotation(states: torch.Tensor, rotary_dim: int | None = None) -> torch.Tensor:
    """(D, D) in dtype and on the device of `states` (..., D): `states @ it` rotates the first `rotary_dim` channels,
    all by default, and is 0 in the rest."""
    width = states.shape[-1]
    return _matrix(width, width if rotary_dim is None else rotary_dim, states.dtype, states.device)


@torch.compiler.assume_constant_result
def _matrix(width: int, rotary_dim: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    return _made(width, rotary_dim, dtype, device)


@lru_cache(maxsize=16)
def _made(width: int, rotary_dim: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    with torch.inference_mode(False), torch.no_grad():
        one = torch.eye(width, dtype=dtype, device=device)[:, :rotary_dim]
        turned = torch.stack((-one[:, 1::2], one[:, 0::2]), dim=-1).flatten(-2)
        return torch.nn.functional.pad(turned, (0, width - rotary_dim))

"""Rotation of neighbours, (x0, x1) to (-x1, x0): its matrix, which npu_rotary_mul takes as `rotate`, and its tables.

Why: without a matrix a graph on A2 and A3 rotates halves, whatever the mode says. Contract: a product with the matrix
is exact, each column has one 1 or -1. It and the channels of a table are made once for a width, dtype and device, and
are constants of every graph.
"""

from __future__ import annotations

from functools import lru_cache

import torch


def neighbour_rotation(states: torch.Tensor, rotary_dim: int | None = None) -> torch.Tensor:
    """(D, D) in dtype and on the device of `states` (..., D): `states @ it` rotates the first `rotary_dim` channels,
    all by default, and is 0 in the rest."""
    width = states.shape[-1]
    return _matrix(width, width if rotary_dim is None else rotary_dim, states.dtype, states.device)


def neighbour_table(table: torch.Tensor) -> torch.Tensor:
    """Cos or sin (..., D) with each channel of its first half twice: (c0, c0, c1, c1, ...), by one kernel."""
    return table.index_select(-1, _channels(table.shape[-1], table.device))


@torch.compiler.assume_constant_result
def _matrix(width: int, rotary_dim: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    return _made(width, rotary_dim, dtype, device)


@torch.compiler.assume_constant_result
def _channels(width: int, device: torch.device) -> torch.Tensor:
    return _twice(width, device)


@lru_cache(maxsize=16)
def _made(width: int, rotary_dim: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    with torch.inference_mode(False), torch.no_grad():
        one = torch.eye(width, dtype=dtype, device=device)[:, :rotary_dim]
        turned = torch.stack((-one[:, 1::2], one[:, 0::2]), dim=-1).flatten(-2)
        return torch.nn.functional.pad(turned, (0, width - rotary_dim))


@lru_cache(maxsize=16)
def _twice(width: int, device: torch.device) -> torch.Tensor:
    with torch.inference_mode(False), torch.no_grad():
        return torch.arange(width, device=device) // 2

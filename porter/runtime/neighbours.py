"""Rotation of neighbours, (x0, x1) to (-x1, x0): its matrix, which npu_rotary_mul takes as `rotate`, and its tables;
and the rotation that leaves the neighbours apart, in halves.

Why: without a matrix a graph on A2 and A3 rotates halves, whatever the mode says. Contract: a product with the matrix
is exact, each column has one 1 or -1. It and the channels of a table are made once for a width, dtype and device, and
are constants of every graph. Under a mode (fake tensors, say) nothing is kept: what is made there is no plain tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any

import torch

try:
    import torch_npu
except ImportError:  # no NPU stack here: the same ops, computed on the CPU
    from porter.npu import torch_npu

_INTERLEAVE_ROPE = 64  # channels that npu_interleave_rope takes, in 16 bits
_modes, _function_modes = torch._C._len_torch_dispatch_stack, torch._C._len_torch_function_stack


def neighbour_rotation(states: torch.Tensor, rotary_dim: int | None = None) -> torch.Tensor:
    """(D, D) in dtype and on the device of `states` (..., D): `states @ it` rotates the first `rotary_dim` channels,
    all by default, and is 0 in the rest."""
    width = states.shape[-1]
    return _matrix(width, width if rotary_dim is None else rotary_dim, states.dtype, states.device)


def neighbour_table(table: torch.Tensor) -> torch.Tensor:
    """Cos or sin (..., D) with each channel of its first half twice: (c0, c0, c1, c1, ...), by one kernel."""
    return table.index_select(-1, _twice(table.shape[-1], table.device))


def turn_neighbours_apart(
    q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, unsqueeze_dim: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """States (x0, x1, x2, x3, ...) turned by neighbours, those of even channels first: (y0, y2, ... | y1, y3, ...).

    q, k: BNSD with unsqueeze_dim 1, BSND with 2. cos, sin: (B or 1, S, D), of which the first halves count. The wider
    of their dtypes comes out. One kernel each where D is 64 in 16 bits, two elsewhere.
    """
    cos, sin = (table.index_select(-1, _half_twice(table.shape[-1], table.device)) for table in (cos, sin))
    return _turned_apart(q, cos, sin, unsqueeze_dim), _turned_apart(k, cos, sin, unsqueeze_dim)


def _turned_apart(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, unsqueeze_dim: int) -> torch.Tensor:
    dtype = torch.promote_types(states.dtype, cos.dtype)
    states, cos, sin = states.to(dtype), cos.to(dtype), sin.to(dtype)
    if states.shape[-1] == _INTERLEAVE_ROPE and dtype in (torch.float16, torch.bfloat16) and unsqueeze_dim in (1, 2):
        return _interleave_rope(states, cos, sin, unsqueeze_dim)
    apart = states.unflatten(-1, (-1, 2)).transpose(-1, -2).flatten(-2)
    return torch_npu.npu_rotary_mul(apart, cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim))


def _interleave_rope(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, unsqueeze_dim: int) -> torch.Tensor:
    """The op takes BNSD alone, with tables for every row: BSND goes in as one position a row, a view."""
    cos, sin = (table.expand(states.shape[0], -1, -1) for table in (cos, sin))
    if unsqueeze_dim == 1:
        cos, sin = cos[:, None].contiguous(), sin[:, None].contiguous()
        return torch_npu.npu_interleave_rope(states.contiguous(), cos, sin)
    rows = states.flatten(0, 1)[:, :, None].contiguous()  # (B * S, N, 1, D)
    cos, sin = (table.flatten(0, 1)[:, None, None].contiguous() for table in (cos, sin))
    return torch_npu.npu_interleave_rope(rows, cos, sin).view(states.shape)


def _constant(make: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """`make`, whose result is made once for its arguments and is a constant of every graph; under a mode, made anew."""
    kept = lru_cache(maxsize=16)(make)

    @torch.compiler.assume_constant_result
    @wraps(make)
    def made(*given: Any) -> torch.Tensor:
        with torch.inference_mode(False), torch.no_grad():
            return (make if _modes() or _function_modes() else kept)(*given)

    # a graph calls a constant by the name of the code that gives it, and no two of one graph may have the same
    made.__code__ = made.__code__.replace(co_name=make.__name__)
    return made


@_constant
def _matrix(width: int, rotary_dim: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    one = torch.eye(width, dtype=dtype, device=device)[:, :rotary_dim]
    turned = torch.stack((-one[:, 1::2], one[:, 0::2]), dim=-1).flatten(-2)
    return torch.nn.functional.pad(turned, (0, width - rotary_dim))


@_constant
def _twice(width: int, device: torch.device) -> torch.Tensor:
    return torch.arange(width, device=device) // 2


@_constant
def _half_twice(width: int, device: torch.device) -> torch.Tensor:
    return torch.arange(width, device=device) % (width // 2)

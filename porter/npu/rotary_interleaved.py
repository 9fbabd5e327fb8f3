"""Rotary position embedding of neighbours that ends in halves: npu_interleave_rope, the rotation of DeepSeek's MLA."""

from __future__ import annotations

import torch

from porter.npu.chip import A2, A3, check_chip
from porter.npu.contract import (
    HALF_OR_FLOAT,
    ContractError,
    check_dtype,
    check_not_empty,
    check_rank,
    check_same_dtype,
    same_sizes,
    shape,
    violated,
)
from porter.npu.once import once_a_signature
from porter.npu.registry import Op
from porter.npu.rounding import rounded, widened

_OP = "npu_interleave_rope"
_HEAD_DIM = 64


def npu_interleave_rope(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Neighbours (x0, x1), (x2, x3), ... to halves x0 x2 ... | x1 x3 ..., then `x * cos + rotate_half(x) * sin`.

    x: (B, N, S, 64), cos and sin: (B, 1, S or 1, 64), B being x's; contiguous, not empty, one dtype, float16 or
    bfloat16; **float32 is accepted here only, for proofs: the device refuses it**. Returns x's shape. Computed in
    float32 and rounded once, as the public CANN kernels do; not seen on a device. Raises ContractError for what the
    torch_npu op documentation and the public operator source forbid, and for chips other than A2 and A3.
    """
    _check(x, cos, sin)
    wide, cosines, sines = widened(x), widened(cos), widened(sin)
    even, odd = wide.unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.cat((even, odd), -1) * cosines + torch.cat((-odd, even), -1) * sines
    return rounded(turned, x.dtype)


@once_a_signature
def _check(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> None:
    check_chip(_OP, (A2, A3))
    check_dtype(_OP, "x", x, HALF_OR_FLOAT)
    for name, tensor in (("x", x), ("cos", cos), ("sin", sin)):
        check_same_dtype(_OP, name, tensor, "x", x.dtype)
        check_rank(_OP, name, tensor, 4, 4)
        check_not_empty(_OP, name, tensor)
        if violated(tensor.shape[-1] == _HEAD_DIM):
            raise ContractError(_OP, name, f"must have D {_HEAD_DIM}", shape(tensor))
        if not tensor.is_contiguous():
            raise ContractError(_OP, name, "must be contiguous", f"strides {tensor.stride()}")
    batch, _, length, _ = x.shape
    if not any(same_sizes(cos.shape, (batch, 1, rows, _HEAD_DIM)) for rows in (length, 1)):
        raise ContractError(_OP, "cos", f"must be (B, 1, S or 1, {_HEAD_DIM}) of x {shape(x)}", shape(cos))
    if not same_sizes(sin.shape, cos.shape):
        raise ContractError(_OP, "sin", f"must have the shape of cos {shape(cos)}", shape(sin))


def _fake(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    _check(x, cos, sin)
    return x.new_empty(x.shape)


OPS = (Op("npu_interleave_rope(Tensor x, Tensor cos, Tensor sin) -> Tensor", npu_interleave_rope, _fake),)

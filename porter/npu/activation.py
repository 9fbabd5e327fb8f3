"""Gated activations: npu_swiglu."""

import torch

from porter.npu.chip import check_chip_dtype
from porter.npu.contract import (
    HALF_OR_FLOAT,
    ContractError,
    check_dtype,
    check_not_empty,
    check_rank,
    shape,
    violated,
)
from porter.npu.once import once_a_signature
from porter.npu.registry import Op
from porter.npu.rounding import rounded, widened


def npu_swiglu(input: torch.Tensor, dim: int = -1) -> torch.Tensor:
    """`silu(first half of dim) * second half of dim`: the gate comes first, then the up projection.

    input: 1 to 8 dimensions, contiguous, not empty, float16, bfloat16 or float32, an even size along dim. Returns
    that size halved. Computed in float32 and rounded once, where eager code rounds silu(gate) before the product.
    Raises ContractError for what the torch_npu op documentation forbids.
    """
    _check(input, dim)
    gate, up = widened(input).chunk(2, dim)
    return rounded(torch.nn.functional.silu(gate) * up, input.dtype)


def _plain_swiglu(input: torch.Tensor, dim: int = -1) -> torch.Tensor:
    _check(input, dim)
    wide = widened(input)
    gate, up = wide.chunk(2, dim)
    return rounded(torch.nn.functional.silu(gate, inplace=wide is not input).mul_(up), input.dtype)


@once_a_signature
def _check(input: torch.Tensor, dim: int) -> None:
    op = "npu_swiglu"
    check_dtype(op, "input", input, HALF_OR_FLOAT)
    check_chip_dtype(op, "input", input)
    check_rank(op, "input", input, 1, 8)
    check_not_empty(op, "input", input)
    if not -input.dim() <= dim < input.dim():
        raise ContractError(op, "dim", f"must be in [{-input.dim()}, {input.dim() - 1}]", dim)
    if violated(input.shape[dim] % 2 == 0):
        raise ContractError(op, "input", f"must have an even size along dim {dim}", shape(input))
    if not input.is_contiguous():
        raise ContractError(op, "input", "must be contiguous", f"strides {input.stride()}")


def _fake_swiglu(input: torch.Tensor, dim: int = -1) -> torch.Tensor:
    _check(input, dim)
    sizes = list(input.shape)
    sizes[dim] = sizes[dim] // 2
    return input.new_empty(sizes)


OPS = (Op("npu_swiglu(Tensor input, int dim=-1) -> Tensor", npu_swiglu, _fake_swiglu, _plain_swiglu),)

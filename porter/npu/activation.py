"""Activations: npu_gelu, and the gated ones npu_swiglu, npu_clipped_swiglu, npu_geglu."""

import torch

from porter.npu.chip import A2, A3, ASCEND_950, check_chip, check_chip_dtype
from porter.npu.contract import (
    HALF_OR_FLOAT,
    ContractError,
    Size,
    check_dtype,
    check_not_empty,
    check_rank,
    shape,
    violated,
)
from porter.npu.once import once_a_signature
from porter.npu.registry import Op
from porter.npu.rounding import rounded, widened


def npu_gelu(input: torch.Tensor, *, approximate: str = "none") -> torch.Tensor:
    """gelu by the error function (`none`) or by tanh. On an NPU PyTorch's own gelu is the one by tanh, whatever is
    asked for (torch_npu's page of this op), in graphs too: the error function is to be had from this op alone.

    input: up to 8 dimensions, float16, bfloat16 or float32; views are taken. Returns the same shape and dtype. Computed
    in float32 and rounded once. Not seen on a device. Raises ContractError for what the torch_npu op documentation
    forbids; on 310P also bfloat16.
    """
    _check_gelu(input, approximate)
    return rounded(torch.nn.functional.gelu(widened(input), approximate=approximate), input.dtype)


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


def npu_clipped_swiglu(
    x: torch.Tensor,
    *,
    group_index: torch.Tensor | None = None,
    dim: int = -1,
    alpha: float = 1.702,
    limit: float = 7.0,
    bias: float = 1.0,
    interleaved: bool = True,
) -> torch.Tensor:
    """`gate * sigmoid(alpha * gate) * (up + bias)`, gate clamped from above at limit, up to [-limit, limit].

    x: 2 to 8 dimensions, contiguous, float16, bfloat16 or float32, an even size along dim. Returns that size halved.
    interleaved: gate at the even places, up at the odd ones, of dim and all that follows it **taken as one**; else gate
    is the first half of dim, up the second. group_index: int64, (G,), rows of each group; rows beyond their sum are NaN
    here and not written on the device, a row being all from dim on. Computed in float32 and rounded once, where eager
    code rounds each step. Not seen on a device. Raises ContractError for what the torch_npu op documentation forbids;
    310P has no such op.
    """
    _check_clipped(x, group_index, dim, limit)
    before = x.shape[: dim % x.dim()]
    flat = widened(x).view(before.numel(), -1)
    gate, up = flat.unflatten(-1, (-1, 2)).unbind(-1) if interleaved else flat.chunk(2, -1)
    gate, up = gate.clamp(max=limit), up.clamp(-limit, limit)
    y = gate * torch.sigmoid(alpha * gate) * (up + bias)
    if group_index is not None:
        rows = torch.arange(y.shape[0], device=x.device)
        y = y.masked_fill((rows >= group_index.sum()).unsqueeze(1), float("nan"))
    return rounded(y, x.dtype).view(_halved(x, dim))


def npu_geglu(
    input: torch.Tensor, dim: int = -1, approximate: int = 1, activate_left: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """`(gelu(one half of dim) * the other half, gelu(that half))`: the right half is activated, or the left one.

    input: 1 to 8 dimensions, float16, bfloat16 or float32, an even size along dim; views are taken. approximate: 1 is
    gelu by tanh, 0 by erf. Returns two tensors, that size halved. The public CANN kernel computes in float32; in
    bfloat16 it rounds each result once, **in float16 it rounds gelu first** and multiplies what is rounded. Its erf is
    a polynomial within 1.3e-7 of gelu, here it is erf. Not seen on a device. Raises ContractError for what the
    torch_npu op documentation forbids; on 310P also bfloat16.
    """
    _check_geglu(input, dim, approximate)
    left, right = widened(input).chunk(2, dim)
    gate, other = (left, right) if activate_left else (right, left)
    gelu = torch.nn.functional.gelu(gate, approximate="tanh" if approximate else "none")
    activated = rounded(gelu, input.dtype)
    if input.dtype is torch.float16:
        gelu = activated.float()
    return rounded(gelu * other, input.dtype).contiguous(), activated.contiguous()


@once_a_signature
def _check_gelu(input: torch.Tensor, approximate: str) -> None:
    op = "npu_gelu"
    check_dtype(op, "input", input, HALF_OR_FLOAT)
    check_chip_dtype(op, "input", input)
    check_rank(op, "input", input, 0, 8)
    if approximate not in ("none", "tanh"):
        raise ContractError(op, "approximate", "must be none (erf) or tanh", approximate)


@once_a_signature
def _check(input: torch.Tensor, dim: int) -> None:
    op = "npu_swiglu"
    check_not_empty(op, "input", input)
    _check_halves(op, input, dim)
    if not input.is_contiguous():
        raise ContractError(op, "input", "must be contiguous", f"strides {input.stride()}")


@once_a_signature
def _check_clipped(x: torch.Tensor, group_index: torch.Tensor | None, dim: int, limit: float) -> None:
    op = "npu_clipped_swiglu"
    check_chip(op, (A2, A3, ASCEND_950))
    _check_halves(op, x, dim, argument="x")
    check_rank(op, "x", x, 2, 8)
    if not x.is_contiguous():
        raise ContractError(op, "x", "must be contiguous", f"strides {x.stride()}")
    if limit <= 0:
        raise ContractError(op, "limit", "must be over 0", limit)
    if group_index is not None:
        check_dtype(op, "group_index", group_index, (torch.int64,))
        check_rank(op, "group_index", group_index, 1, 1)


@once_a_signature
def _check_geglu(input: torch.Tensor, dim: int, approximate: int) -> None:
    op = "npu_geglu"
    _check_halves(op, input, dim)
    if approximate not in (0, 1):
        raise ContractError(op, "approximate", "must be 0 (erf) or 1 (tanh)", approximate)


def _check_halves(op: str, input: torch.Tensor, dim: int, argument: str = "input") -> None:
    check_dtype(op, argument, input, HALF_OR_FLOAT)
    check_chip_dtype(op, argument, input)
    check_rank(op, argument, input, 1, 8)
    if not -input.dim() <= dim < input.dim():
        raise ContractError(op, "dim", f"must be in [{-input.dim()}, {input.dim() - 1}]", dim)
    if violated(input.shape[dim] % 2 == 0):
        raise ContractError(op, argument, f"must have an even size along dim {dim}", shape(input))


def _fake_gelu(input: torch.Tensor, *, approximate: str = "none") -> torch.Tensor:
    _check_gelu(input, approximate)
    return torch.empty_like(input)


def _fake_swiglu(input: torch.Tensor, dim: int = -1) -> torch.Tensor:
    _check(input, dim)
    return _half_of(input, dim)


def _fake_geglu(
    input: torch.Tensor, dim: int = -1, approximate: int = 1, activate_left: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    _check_geglu(input, dim, approximate)
    return _half_of(input, dim), _half_of(input, dim)


def _fake_clipped_swiglu(
    x: torch.Tensor,
    *,
    group_index: torch.Tensor | None = None,
    dim: int = -1,
    alpha: float = 1.702,
    limit: float = 7.0,
    bias: float = 1.0,
    interleaved: bool = True,
) -> torch.Tensor:
    _check_clipped(x, group_index, dim, limit)
    return x.new_empty(_halved(x, dim))


def _half_of(input: torch.Tensor, dim: int) -> torch.Tensor:
    return input.new_empty(_halved(input, dim))


def _halved(input: torch.Tensor, dim: int) -> list[Size]:
    sizes: list[Size] = list(input.shape)
    sizes[dim] = sizes[dim] // 2
    return sizes


OPS = (
    Op('npu_gelu(Tensor input, *, str approximate="none") -> Tensor', npu_gelu, _fake_gelu),
    Op("npu_swiglu(Tensor input, int dim=-1) -> Tensor", npu_swiglu, _fake_swiglu, _plain_swiglu),
    Op(
        "npu_geglu(Tensor input, int dim=-1, int approximate=1, bool activate_left=False) -> (Tensor, Tensor)",
        npu_geglu,
        _fake_geglu,
    ),
    Op(
        "npu_clipped_swiglu(Tensor x, *, Tensor? group_index=None, int dim=-1, float alpha=1.702, float limit=7., "
        "float bias=1., bool interleaved=True) -> Tensor",
        npu_clipped_swiglu,
        _fake_clipped_swiglu,
    ),
)

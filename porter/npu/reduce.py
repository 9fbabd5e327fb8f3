"""Matrix product and all-reduce in one op, npu_mm_all_reduce_base: what it sums, and what it refuses.

Limits are those of the op's documentation in the public op-plugin repository (unquantized case). The CPU kernel
reduces over the process group that `hcom` names, so it answers only when every rank of the group calls it.
"""

from __future__ import annotations

import torch
from torch import distributed

from porter.npu.chip import A2, check_chip
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
from porter.npu.registry import Op

_OP = "npu_mm_all_reduce_base"
_CARDS = (1, 2, 4, 8)
_LARGEST = 2**31 - 1


def npu_mm_all_reduce_base(
    x1: torch.Tensor,
    x2: torch.Tensor,
    hcom: str,
    *,
    reduce_op: str = "sum",
    bias: torch.Tensor | None = None,
    x3: torch.Tensor | None = None,
    comm_turn: int = 0,
    **quantized: object,
) -> torch.Tensor:
    """`all_reduce(x1 @ x2 + bias + x3)` over the ranks of the group named `hcom`.

    x1: (b, s, k) or (m, k), contiguous: a transposed tensor is refused. x2: (k, n), a transposed view is allowed.
    bias: (n,). x3: the shape of the result. All float16 or bfloat16 of one dtype, none empty; float32 is for proofs
    only, the device has no such kernel. Returns (b, s, n) or (m, n) of x1's dtype.
    **bias and x3 are inside the sum**: given on each of w ranks they are added w times. Each rank's product is rounded
    once, then the rounded products are summed in that dtype; the device's order of summing is not modelled.
    hcom: on the device the communicator's name, here the process group's `group_name`. Groups of 1, 2, 4 or 8 ranks.
    For prefill: the documentation keeps the op out of decode steps, which this kernel cannot see.
    Raises ContractError for what the documentation forbids, and for quantized arguments, which have no kernel here.
    """
    _check(x1, x2, reduce_op, bias, x3, comm_turn)
    _check_unquantized(quantized)
    group = _group(hcom)
    product = x1.float() @ x2.float()
    for term in (bias, x3):
        if term is not None:
            product = product + term.float()
    product = product.to(x1.dtype)
    distributed.all_reduce(product, group=group)
    return product


def _group(hcom: str) -> distributed.ProcessGroup:
    try:
        group = distributed.distributed_c10d._resolve_process_group(hcom)
    except Exception as error:  # what torch raises for an unknown name differs between its versions
        limit = "must name a process group of this process (group.group_name)"
        raise ContractError(_OP, "hcom", limit, repr(hcom)) from error
    if group.size() not in _CARDS:
        limit = f"must name a group of {', '.join(map(str, _CARDS))} ranks"
        raise ContractError(_OP, "hcom", limit, group.size())
    return group


def _check(
    x1: torch.Tensor,
    x2: torch.Tensor,
    reduce_op: str,
    bias: torch.Tensor | None,
    x3: torch.Tensor | None,
    comm_turn: int,
) -> None:
    check_chip(_OP, (A2,))
    check_dtype(_OP, "x1", x1, HALF_OR_FLOAT)
    check_same_dtype(_OP, "x2", x2, "x1", x1.dtype)
    check_rank(_OP, "x1", x1, 2, 3)
    check_rank(_OP, "x2", x2, 2, 2)
    for name, tensor in (("x1", x1), ("x2", x2)):
        check_not_empty(_OP, name, tensor)
        if any(violated(size <= _LARGEST) for size in tensor.shape):
            raise ContractError(_OP, name, f"must have sizes up to {_LARGEST}", shape(tensor))
    if violated(x1.shape[-1] == x2.shape[0]):
        raise ContractError(_OP, "x2", f"must have the last size of x1 {shape(x1)} first", shape(x2))
    if not x1.is_contiguous():
        raise ContractError(_OP, "x1", "must not be transposed", f"strides {x1.stride()}")
    if not (x2.is_contiguous() or x2.t().is_contiguous()):
        raise ContractError(_OP, "x2", "must be contiguous, or the transpose of such", f"strides {x2.stride()}")
    if bias is not None:
        check_same_dtype(_OP, "bias", bias, "x1", x1.dtype)
        if not same_sizes(bias.shape, x2.shape[1:]):
            raise ContractError(_OP, "bias", f"must have one dimension, the last of x2 {shape(x2)}", shape(bias))
    if x3 is not None:
        check_same_dtype(_OP, "x3", x3, "x1", x1.dtype)
        wanted = (*x1.shape[:-1], x2.shape[1])
        if not same_sizes(x3.shape, wanted):
            raise ContractError(_OP, "x3", f"must have the shape of the result {wanted}", shape(x3))
    if reduce_op != "sum":
        raise ContractError(_OP, "reduce_op", "must be 'sum'", repr(reduce_op))
    if comm_turn != 0:
        raise ContractError(_OP, "comm_turn", "must be 0", comm_turn)


def _check_unquantized(quantized: dict[str, object]) -> None:
    """Every other argument of the schema serves quantization; left out, it is None or 0."""
    for name, value in quantized.items():
        if isinstance(value, torch.Tensor) or value not in (None, 0):
            raise ContractError(_OP, name, "must be left out: there is no quantized kernel here", value)


def _fake(
    x1: torch.Tensor,
    x2: torch.Tensor,
    hcom: str,
    *,
    reduce_op: str = "sum",
    bias: torch.Tensor | None = None,
    x3: torch.Tensor | None = None,
    comm_turn: int = 0,
    **quantized: object,
) -> torch.Tensor:
    _check(x1, x2, reduce_op, bias, x3, comm_turn)
    _check_unquantized(quantized)
    return x1.new_empty((*x1.shape[:-1], x2.shape[1]))


OPS = (
    Op(
        'npu_mm_all_reduce_base(Tensor x1, Tensor x2, str hcom, *, str reduce_op="sum", Tensor? bias=None, '
        "Tensor? antiquant_scale=None, Tensor? antiquant_offset=None, Tensor? x3=None, Tensor? dequant_scale=None, "
        "Tensor? pertoken_scale=None, Tensor? comm_quant_scale_1=None, Tensor? comm_quant_scale_2=None, "
        "int antiquant_group_size=0, int comm_turn=0, int[]? group_sizes=None, int? y_dtype=None, "
        "int? x1_dtype=None, int? x2_dtype=None, int? dequant_scale_dtype=None, int? pertoken_scale_dtype=None, "
        "int comm_quant_mode=0, str? comm_mode=None) -> Tensor",
        npu_mm_all_reduce_base,
        _fake,
    ),
)

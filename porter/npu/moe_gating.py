"""Routers: npu_moe_gating_top_k_softmax and npu_moe_gating_top_k pick k experts a token and weigh them.

Limits are those of the ops' documentation in the public op-plugin repository, roundings those of the public CANN
kernels. Equal scores: the device takes the lower expert first (its sort is documented so), torch.topk leaves open which
it takes; **here it is torch.topk's choice**, so that a port picks the experts that its source picks. Where a tie lies
across the k-th place, which 16-bit logits make frequent, the device may pick another of the tied experts.
"""

from __future__ import annotations

import torch

from porter.npu.chip import A2, A3, ASCEND_950, check_chip
from porter.npu.contract import (
    HALF_OR_FLOAT,
    ContractError,
    check_dtype,
    check_rank,
    check_same_dtype,
    same_sizes,
    shape,
    violated,
)
from porter.npu.once import once_a_signature
from porter.npu.registry import Op
from porter.npu.rounding import rounded, widened

_MOST_CHOSEN = 1024
_MOST_EXPERTS = 2048
_SORTED_TOGETHER = 32  # experts of a group are padded to a multiple of it
_SOFTMAX, _SIGMOID = 0, 1
_BY_BEST, _BY_BEST_TWO = 0, 1


def npu_moe_gating_top_k_softmax(
    x: torch.Tensor, finished: torch.Tensor | None = None, k: int = 1
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The k largest of `softmax(x)` over all experts, largest first: **not normalised to sum to one**.

    x: router logits (T, E) or (B, S, E), float16, bfloat16 or float32. k: 1 to E, 1024 at most. finished: bool, x's
    shape without E, True for rows whose experts are set to E (no expert). Returns (weights of x's dtype, experts int32,
    row_idx int32), each (T, k) or (B, S, k); row_idx of row r and choice j is `j * rows + r`, the column order that
    npu_moe_init_routing takes (its v2 needs none). Softmax in float32 and one rounding, of bfloat16 ties away from
    zero; with float16 logits, E over 1024 or not a multiple of 8, or k over 8, and E of 8 or more, the device computes
    the softmax in float16, which is not modelled: give float32 logits where the source takes its softmax in float32.
    Not seen on a device. Raises ContractError for what the torch_npu op documentation forbids, and on Ascend950, whose
    op is npu_moe_gating_top_k_softmax_v2 (it normalises too, but its TorchAir converter raises); 310P has none.
    """
    _check_softmax(x, finished, k)
    chosen, experts = torch.softmax(x, -1, dtype=torch.float32).topk(k, -1)
    experts = experts.int()
    if finished is not None:
        experts = experts.masked_fill(finished.unsqueeze(-1), x.shape[-1])
    weights = _away_from_zero(chosen) if x.dtype is torch.bfloat16 else rounded(chosen, x.dtype)
    return weights, experts, _columns(x, k)


def npu_moe_gating_top_k(
    x: torch.Tensor,
    k: int,
    *,
    bias: torch.Tensor | None = None,
    input_ids: torch.Tensor | None = None,
    tid2eid: torch.Tensor | None = None,
    k_group: int = 1,
    group_count: int = 1,
    group_select_mode: int = 0,
    renorm: int = 0,
    norm_type: int = 0,
    out_flag: bool = False,
    routed_scaling_factor: float = 1.0,
    eps: float = 1e-20,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The k experts with the largest `scores + bias` in the k_group best of group_count groups, weighed by their score.

    scores: softmax of x over all experts (norm_type 0) or sigmoid (1), in float32. x: (T, E), float16, bfloat16 or
    float32; bias: (E,), x's dtype, **for the choice only**. Groups are of neighbours; a group's worth is its largest
    `scores + bias` (group_select_mode 0) or the sum of its largest two (1), and experts of the other groups are never
    chosen: a source that fills them with 0.0 may choose them where biased scores are negative. Weights: **of sigmoid
    scores always divided by their sum + eps, of softmax scores never**; then times routed_scaling_factor, rounded once.
    Returns (weights (T, k) of x's dtype, experts (T, k) int32, scores (T, E) float32: NaN here and not written on the
    device without out_flag). E up to 2048, more than two experts a group, group_count times the size of a group,
    rounded up to 32, up to 2048; renorm 0 (torch_npu 7.1: E 256 only). input_ids and tid2eid have no kernel here.
    Not seen on a device. Raises ContractError for what the torch_npu op documentation forbids; 310P has no such op.
    """
    _check_top_k(x, k, bias, k_group, group_count, group_select_mode, renorm, norm_type)
    _check_no_table(input_ids, tid2eid)
    wide = widened(x)
    scores = wide.sigmoid() if norm_type == _SIGMOID else wide.softmax(-1)
    choice = scores if bias is None else scores + widened(bias)
    if k_group < group_count:
        choice = _in_best_groups(choice, k_group, group_count, group_select_mode)
    experts = choice.topk(k, -1)[1]
    weights = scores.gather(-1, experts)
    if norm_type == _SIGMOID:
        weights = weights / (weights.sum(-1, keepdim=True) + eps)
    weights = rounded(weights * routed_scaling_factor, x.dtype)
    return weights, experts.int(), scores if out_flag else torch.full_like(scores, float("nan"))


def _columns(x: torch.Tensor, k: int) -> torch.Tensor:
    """row_idx: (T, k) or (B, S, k) int32."""
    rows = x.shape[:-1].numel()
    first, step = (torch.arange(count, dtype=torch.int32, device=x.device) for count in (rows, k))
    return (first.unsqueeze(1) + step * rows).view(*x.shape[:-1], k)


def _away_from_zero(values: torch.Tensor) -> torch.Tensor:
    """float32, not negative -> bfloat16, a value in the middle upwards: PyTorch rounds those to the even neighbour."""
    bits = values.view(torch.int32) + 0x8000
    return (bits & -0x10000).view(torch.float32).bfloat16()


def _in_best_groups(choice: torch.Tensor, k_group: int, group_count: int, mode: int) -> torch.Tensor:
    """choice (T, E) with -inf in all but the k_group best of the groups."""
    groups = choice.unflatten(-1, (group_count, -1))
    worth = groups.topk(2, -1)[0].sum(-1) if mode == _BY_BEST_TWO else groups.amax(-1)
    out = torch.ones_like(worth, dtype=torch.bool).scatter(-1, worth.topk(k_group, -1)[1], False)
    return groups.masked_fill(out.unsqueeze(-1), float("-inf")).flatten(-2)


@once_a_signature
def _check_softmax(x: torch.Tensor, finished: torch.Tensor | None, k: int) -> None:
    op = "npu_moe_gating_top_k_softmax"
    check_chip(op, (A2, A3))
    check_dtype(op, "x", x, HALF_OR_FLOAT)
    check_rank(op, "x", x, 2, 3)
    if violated(k >= 1) or violated(k <= x.shape[-1]) or violated(k <= _MOST_CHOSEN):
        raise ContractError(op, "k", f"must be 1 to the last size of x {shape(x)}, {_MOST_CHOSEN} at most", k)
    if finished is not None:
        check_dtype(op, "finished", finished, (torch.bool,))
        if not same_sizes(finished.shape, x.shape[:-1]):
            raise ContractError(op, "finished", f"must have the rows of x {shape(x)}", shape(finished))


@once_a_signature
def _check_top_k(
    x: torch.Tensor,
    k: int,
    bias: torch.Tensor | None,
    k_group: int,
    group_count: int,
    group_select_mode: int,
    renorm: int,
    norm_type: int,
) -> None:
    op = "npu_moe_gating_top_k"
    check_chip(op, (A2, A3, ASCEND_950))
    check_dtype(op, "x", x, HALF_OR_FLOAT)
    check_rank(op, "x", x, 2, 2)
    experts = x.shape[-1]
    if violated(experts <= _MOST_EXPERTS):
        raise ContractError(op, "x", f"must have at most {_MOST_EXPERTS} experts", shape(x))
    if bias is not None:
        check_same_dtype(op, "bias", bias, "x", x.dtype)
        if not same_sizes(bias.shape, x.shape[-1:]):
            raise ContractError(op, "bias", f"must have one dimension, the last of x {shape(x)}", shape(bias))
    for name, value, known in (
        ("group_select_mode", group_select_mode, "0 (the largest of a group) or 1 (the sum of its largest two)"),
        ("norm_type", norm_type, "0 (softmax) or 1 (sigmoid)"),
    ):
        if value not in (0, 1):
            raise ContractError(op, name, f"must be {known}", value)
    if renorm != 0:
        raise ContractError(op, "renorm", "must be 0", renorm)
    if group_count < 1 or violated(experts % group_count == 0) or violated(experts // group_count > 2):
        limit = f"must divide the experts of x {shape(x)} into groups of more than two"
        raise ContractError(op, "group_count", limit, group_count)
    padded = -(-(experts // group_count) // _SORTED_TOGETHER) * _SORTED_TOGETHER
    if violated(padded * group_count <= _MOST_EXPERTS):
        limit = f"times the size of a group, rounded up to {_SORTED_TOGETHER}, must be at most {_MOST_EXPERTS}"
        raise ContractError(op, "group_count", limit, f"{group_count} * {padded}")
    if not 1 <= k_group <= group_count:
        raise ContractError(op, "k_group", f"must be 1 to group_count ({group_count})", k_group)
    most = experts // group_count * k_group
    if k < 1 or violated(k <= most):
        raise ContractError(op, "k", f"must be 1 to the experts of k_group groups, {most}", k)


def _check_no_table(input_ids: torch.Tensor | None, tid2eid: torch.Tensor | None) -> None:
    for name, tensor in (("input_ids", input_ids), ("tid2eid", tid2eid)):
        if tensor is not None:
            limit = "must be left out: experts by a table have no kernel here"
            raise ContractError("npu_moe_gating_top_k", name, limit, shape(tensor))


def _fake_softmax(
    x: torch.Tensor, finished: torch.Tensor | None = None, k: int = 1
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    _check_softmax(x, finished, k)
    sizes = (*x.shape[:-1], k)
    return x.new_empty(sizes), x.new_empty(sizes, dtype=torch.int32), x.new_empty(sizes, dtype=torch.int32)


def _fake_top_k(
    x: torch.Tensor,
    k: int,
    *,
    bias: torch.Tensor | None = None,
    input_ids: torch.Tensor | None = None,
    tid2eid: torch.Tensor | None = None,
    k_group: int = 1,
    group_count: int = 1,
    group_select_mode: int = 0,
    renorm: int = 0,
    norm_type: int = 0,
    out_flag: bool = False,
    routed_scaling_factor: float = 1.0,
    eps: float = 1e-20,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    _check_top_k(x, k, bias, k_group, group_count, group_select_mode, renorm, norm_type)
    _check_no_table(input_ids, tid2eid)
    sizes = (x.shape[0], k)
    return (
        x.new_empty(sizes),
        x.new_empty(sizes, dtype=torch.int32),
        x.new_empty(x.shape, dtype=torch.float32),
    )


OPS = (
    Op(
        "npu_moe_gating_top_k_softmax(Tensor x, Tensor? finished=None, int k=1) -> (Tensor, Tensor, Tensor)",
        npu_moe_gating_top_k_softmax,
        _fake_softmax,
    ),
    Op(
        "npu_moe_gating_top_k(Tensor x, int k, *, Tensor? bias=None, Tensor? input_ids=None, Tensor? tid2eid=None, "
        "int k_group=1, int group_count=1, int group_select_mode=0, int renorm=0, int norm_type=0, "
        "bool out_flag=False, float routed_scaling_factor=1., float eps=9.9999999999999995e-21) "
        "-> (Tensor, Tensor, Tensor)",
        npu_moe_gating_top_k,
        _fake_top_k,
    ),
)

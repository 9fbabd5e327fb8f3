"""Tokens to their experts: npu_moe_init_routing_v2 copies each row once a choice, sorted by expert.

Between it and npu_moe_finalize_routing lies npu_grouped_matmul, and no index is computed on the host:

    rows, places, counts, _ = npu_moe_init_routing_v2(x, experts, active_num=experts.numel(), expert_num=E, ...)
    y = npu_moe_finalize_routing(outputs, None, None, None, weights, places, None, drop_pad_mode=2)

Limits are those of the op's documentation in the public op-plugin repository. Not seen on a device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from porter.npu.chip import A2, A3, ASCEND_950, check_chip
from porter.npu.contract import (
    HALF_OR_FLOAT,
    ContractError,
    check_dtype,
    check_rank,
    check_values,
    same_sizes,
    shape,
    violated,
)
from porter.npu.counts import counted
from porter.npu.once import once_a_signature
from porter.npu.registry import Op

_OP = "npu_moe_init_routing_v2"
_MOST_EXPERTS = 10240
_EVERY_EXPERT: list[int] = []
_CUMULATIVE, _COUNTS = 0, 1
_GATHER, _SCATTER = 0, 1


def npu_moe_init_routing_v2(
    x: torch.Tensor,
    expert_idx: torch.Tensor,
    *,
    scale: torch.Tensor | None = None,
    offset: torch.Tensor | None = None,
    active_num: int = -1,
    expert_capacity: int = -1,
    expert_num: int = -1,
    drop_pad_mode: int = 0,
    expert_tokens_num_type: int = 0,
    expert_tokens_num_flag: bool = False,
    quant_mode: int = -1,
    active_expert_range: Sequence[int] = _EVERY_EXPERT,
    row_idx_type: int = 0,
    x_dtype: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """One row for each choice of an expert, sorted by expert and, within one, by place in expert_idx.

    x: (T, H), float16, bfloat16 or float32. expert_idx: (T, K) int32, each in [0, expert_num). Returns
    expanded_x (T * K, H), x's dtype, the rows of x in the order of their experts;
    expanded_row_idx (T * K,) int32: row_idx_type 0, where choice `t * K + j` went (what npu_moe_finalize_routing takes
    with drop_pad_mode 2); 1, which choice came to each place;
    counts (end - start,) int64: rows of each expert of active_expert_range [start, end), which may be 0
    (expert_tokens_num_type 1), or how many there are up to and with it (0); a group_list of npu_grouped_matmul;
    expanded_scale (T * K,) float32: scale (T,) of each row's token, or without scale NaN here and unwritten there.
    Choices outside the range come last: NaN rows and place -1 here, not written on the device (but for -1 of type 0).
    **What every CANN release takes**: active_num T * K (-1 and 0 mean it in some), expert_tokens_num_type 1, a range
    that is given (left empty, op-plugin keeps the first call's expert_num for all later ones: refused),
    expert_tokens_num_flag True (otherwise counts are unwritten: refused), row_idx_type 0 (for 128 experts, H 2048 and
    counts, releases before 8.5 run an older kernel that knows no other). Quantization, drop_pad_mode 1, pairs of expert
    and count, and fewer active rows have no kernel here. Raises ContractError for these and for what the torch_npu op
    documentation forbids; an expert outside expert_num is not noticed on the device. 310P returns otherwise: refused.
    """
    start, end = _check_init(x, expert_idx, scale, active_num, expert_num, active_expert_range, row_idx_type)
    _check_forms(offset, drop_pad_mode, expert_tokens_num_type, expert_tokens_num_flag, quant_mode, x_dtype)
    check_values(_OP, "expert_idx", expert_idx, 0, expert_num)
    chosen = expert_idx.flatten().long()
    counts = counted(chosen, expert_num).narrow(0, start, end - start)
    if start > 0:
        chosen = chosen.masked_fill(chosen < start, expert_num)  # sorted behind every expert, as those from end on are
    order = chosen.argsort(stable=True)
    tokens = order // expert_idx.shape[1]
    places = torch.arange(order.shape[0], device=x.device)
    rows = x.index_select(0, tokens)
    scales = _unwritten(tokens) if scale is None else scale.index_select(0, tokens)
    if (start, end) != (0, expert_num):
        beyond = places >= counts.sum()
        rows, scales = rows.masked_fill(beyond.unsqueeze(1), float("nan")), scales.masked_fill(beyond, float("nan"))
        places = places.masked_fill(beyond, -1)
        if row_idx_type == _SCATTER:
            order = order.masked_fill(beyond, -1)
    row_idx = order if row_idx_type == _SCATTER else torch.empty_like(order).scatter(0, order, places)
    return rows, row_idx.int(), counts.cumsum(0) if expert_tokens_num_type == _CUMULATIVE else counts, scales


def _unwritten(tokens: torch.Tensor) -> torch.Tensor:
    return torch.full(tokens.shape, float("nan"), device=tokens.device)


def _check_init(
    x: torch.Tensor,
    expert_idx: torch.Tensor,
    scale: torch.Tensor | None,
    active_num: int,
    expert_num: int,
    active_expert_range: Sequence[int],
    row_idx_type: int,
) -> tuple[int, int]:
    """The range of experts, [start, end)."""
    if len(active_expert_range) != 2:
        limit = "must be [start, end]: left empty, op-plugin keeps the first call's expert_num for all later ones"
        raise ContractError(_OP, "active_expert_range", limit, list(active_expert_range))
    start, end = active_expert_range
    _check_routed(x, expert_idx, scale, active_num, expert_num, start, end, row_idx_type)
    return start, end


@once_a_signature
def _check_routed(
    x: torch.Tensor,
    expert_idx: torch.Tensor,
    scale: torch.Tensor | None,
    active_num: int,
    expert_num: int,
    start: int,
    end: int,
    row_idx_type: int,
) -> None:
    check_chip(_OP, (A2, A3, ASCEND_950))
    check_dtype(_OP, "x", x, HALF_OR_FLOAT)
    check_rank(_OP, "x", x, 2, 2)
    check_dtype(_OP, "expert_idx", expert_idx, (torch.int32,))
    check_rank(_OP, "expert_idx", expert_idx, 2, 2)
    if not same_sizes(x.shape[:1], expert_idx.shape[:1]):
        raise ContractError(_OP, "expert_idx", f"must have a row for each of x {shape(x)}", shape(expert_idx))
    if scale is not None:
        check_dtype(_OP, "scale", scale, (torch.float32,))
        if not same_sizes(scale.shape, x.shape[:1]):
            raise ContractError(_OP, "scale", f"must have one value a row of x {shape(x)}", shape(scale))
    if not 1 <= expert_num <= _MOST_EXPERTS:
        raise ContractError(_OP, "expert_num", f"must be 1 to {_MOST_EXPERTS}", expert_num)
    if not 0 <= start < end <= expert_num:
        limit = f"must be [start, end], 0 <= start < end <= {expert_num}"
        raise ContractError(_OP, "active_expert_range", limit, [start, end])
    choices = expert_idx.shape[0] * expert_idx.shape[1]
    if active_num not in (-1, 0) and violated(active_num == choices):
        limit = f"must be all choices, {choices}: fewer have no kernel here"
        raise ContractError(_OP, "active_num", limit, active_num)
    if row_idx_type not in (_GATHER, _SCATTER):
        raise ContractError(_OP, "row_idx_type", "must be 0 (gather) or 1 (scatter)", row_idx_type)


def _check_forms(
    offset: torch.Tensor | None, drop_pad_mode: int, num_type: int, num_flag: bool, quant_mode: int, x_dtype: int | None
) -> None:
    if num_type not in (_CUMULATIVE, _COUNTS):
        limit = "must be 0 (cumulative) or 1 (counts): pairs have no kernel here"
        raise ContractError(_OP, "expert_tokens_num_type", limit, num_type)
    if not num_flag:
        limit = "must be True: counts are not written without it"
        raise ContractError(_OP, "expert_tokens_num_flag", limit, num_flag)
    if drop_pad_mode != 0:
        raise ContractError(_OP, "drop_pad_mode", "must be 0: dropping has no kernel here", drop_pad_mode)
    for name, value, without in (("quant_mode", quant_mode, -1), ("x_dtype", x_dtype, None)):
        if value != without:
            raise ContractError(_OP, name, f"must be {without}: there is no quantized kernel here", value)
    if offset is not None:
        raise ContractError(_OP, "offset", "must be None without quantization", shape(offset))


def _fake_init(
    x: torch.Tensor,
    expert_idx: torch.Tensor,
    *,
    scale: torch.Tensor | None = None,
    offset: torch.Tensor | None = None,
    active_num: int = -1,
    expert_capacity: int = -1,
    expert_num: int = -1,
    drop_pad_mode: int = 0,
    expert_tokens_num_type: int = 0,
    expert_tokens_num_flag: bool = False,
    quant_mode: int = -1,
    active_expert_range: Sequence[int] = _EVERY_EXPERT,
    row_idx_type: int = 0,
    x_dtype: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    start, end = _check_init(x, expert_idx, scale, active_num, expert_num, active_expert_range, row_idx_type)
    _check_forms(offset, drop_pad_mode, expert_tokens_num_type, expert_tokens_num_flag, quant_mode, x_dtype)
    choices = expert_idx.shape[0] * expert_idx.shape[1]
    return (
        x.new_empty((choices, x.shape[1])),
        expert_idx.new_empty((choices,)),
        x.new_empty((end - start,), dtype=torch.int64),
        x.new_empty((choices,), dtype=torch.float32),
    )


OPS = (
    Op(
        "npu_moe_init_routing_v2(Tensor x, Tensor expert_idx, *, Tensor? scale=None, Tensor? offset=None, "
        "int active_num=-1, int expert_capacity=-1, int expert_num=-1, int drop_pad_mode=0, "
        "int expert_tokens_num_type=0, bool expert_tokens_num_flag=False, int quant_mode=-1, "
        "int[2] active_expert_range=[], int row_idx_type=0, int? x_dtype=None) -> (Tensor, Tensor, Tensor, Tensor)",
        npu_moe_init_routing_v2,
        _fake_init,
    ),
)

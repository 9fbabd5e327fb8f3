"""Experts' rows back to their tokens: npu_moe_finalize_routing weighs and sums them.

Limits are those of the op's documentation in the public op-plugin repository, roundings those of the public CANN
kernels. Not seen on a device.
"""

from __future__ import annotations

import torch

from porter.npu.chip import A2, A3, ASCEND_950, check_chip
from porter.npu.contract import (
    HALF_OR_FLOAT,
    ContractError,
    Size,
    check_dtype,
    check_rank,
    check_same_dtype,
    check_values,
    same_sizes,
    shape,
    violated,
)
from porter.npu.once import once_a_signature
from porter.npu.registry import Op
from porter.npu.rounding import rounded, widened

_OP = "npu_moe_finalize_routing"
_DROPPING = (1, 3)  # of drop_pad_mode
_BY_ROW = (2, 3)


def npu_moe_finalize_routing(
    expanded_permuted_rows: torch.Tensor,
    skip1: torch.Tensor | None,
    skip2: torch.Tensor | None,
    bias: torch.Tensor | None,
    scales: torch.Tensor | None,
    expanded_src_to_dst_row: torch.Tensor,
    export_for_source_row: torch.Tensor | None,
    drop_pad_mode: int | None = 0,
    k: int | None = 1,
) -> torch.Tensor:
    """`skip1 + skip2 + sum over j of scales[t, j] * (row of choice (t, j) + bias[its expert])`: (T, H), as the rows.

    expanded_permuted_rows: (T * K, H), or (E, C, H) where rows may have been dropped (drop_pad_mode 1 and 3); float16,
    bfloat16 or float32. expanded_src_to_dst_row: (T * K,) int32, the row of each choice: choice (t, j) stands at
    `j * T + t` in modes 0 and 1, at `t * K + j` in modes 2 and 3, which npu_moe_init_routing_v2 returns. -1 is a
    dropped row, in modes 1 and 3 alone, and adds nothing, no bias either. scales: (T, K), **the rows' dtype**; without
    them a sum of k rows each (k other than 1 needs a CANN with aclnnMoeFinalizeRoutingV4). bias: (E, H), with
    export_for_source_row (T, K) int32, the experts. skip1, skip2: (T, H); skip2 only beside skip1. bfloat16 is summed
    in float32 in the order of j and rounded once; **float16 rounds each product and each sum**, as float32 does.
    The documentation lists A2; the public operator A3 and Ascend950 too. Raises ContractError for what the torch_npu op
    documentation forbids; a row that does not exist is not noticed on the device.
    """
    mode = drop_pad_mode or 0
    places, experts = expanded_src_to_dst_row, export_for_source_row
    _check_finalize(expanded_permuted_rows, skip1, skip2, bias, scales, places, experts, mode, k or 0)
    rows = expanded_permuted_rows.flatten(0, -2)
    check_values(_OP, "expanded_src_to_dst_row", places, -1 if mode in _DROPPING else 0, rows.shape[0])
    tokens, choices = _token_choices(scales, places, k or 0)
    places = places.view(tokens, choices) if mode in _BY_ROW else places.view(choices, tokens).t()
    parts = _summed_in(_picked(rows, places.clamp(min=0)))
    if bias is not None and experts is not None:
        parts = parts + _summed_in(_picked(bias, experts))
    if scales is not None:
        parts = parts * _summed_in(scales).unsqueeze(-1)
    if mode in _DROPPING:
        parts = parts.masked_fill((places < 0).unsqueeze(-1), 0.0)
    terms = [*(_summed_in(skip) for skip in (skip1, skip2) if skip is not None), *parts.unbind(1)]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return rounded(total, rows.dtype).contiguous()


def _picked(rows: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """(T, K, H)"""
    return rows.index_select(0, indices.reshape(-1)).view(*indices.shape, rows.shape[-1])


def _summed_in(values: torch.Tensor) -> torch.Tensor:
    return values if values.dtype is torch.float16 else widened(values)


@once_a_signature
def _check_finalize(
    rows: torch.Tensor,
    skip1: torch.Tensor | None,
    skip2: torch.Tensor | None,
    bias: torch.Tensor | None,
    scales: torch.Tensor | None,
    places: torch.Tensor,
    experts: torch.Tensor | None,
    mode: int,
    k: int,
) -> None:
    check_chip(_OP, (A2, A3, ASCEND_950))
    check_dtype(_OP, "expanded_permuted_rows", rows, HALF_OR_FLOAT)
    if mode not in (0, 1, 2, 3):
        raise ContractError(_OP, "drop_pad_mode", "must be 0 to 3", mode)
    rank = 3 if mode in _DROPPING else 2
    check_rank(_OP, "expanded_permuted_rows", rows, rank, rank)
    check_dtype(_OP, "expanded_src_to_dst_row", places, (torch.int32,))
    check_rank(_OP, "expanded_src_to_dst_row", places, 1, 1)
    if scales is not None:
        check_same_dtype(_OP, "scales", scales, "expanded_permuted_rows", rows.dtype)
        check_rank(_OP, "scales", scales, 2, 2)
        if violated(scales.shape[0] * scales.shape[1] == places.shape[0]):
            limit = f"must have one value for each of expanded_src_to_dst_row {shape(places)}"
            raise ContractError(_OP, "scales", limit, shape(scales))
    elif k < 1 or violated(places.shape[0] % k == 0):
        limit = f"must divide the rows of expanded_src_to_dst_row {shape(places)}"
        raise ContractError(_OP, "k", limit, k)
    if mode not in _DROPPING and violated(rows.shape[0] == places.shape[0]):
        limit = f"must have a row for each of expanded_src_to_dst_row {shape(places)}"
        raise ContractError(_OP, "expanded_permuted_rows", limit, shape(rows))
    tokens, choices = _token_choices(scales, places, k)
    _check_added(rows, skip1, skip2, bias, experts, (tokens, choices))


def _check_added(
    rows: torch.Tensor,
    skip1: torch.Tensor | None,
    skip2: torch.Tensor | None,
    bias: torch.Tensor | None,
    experts: torch.Tensor | None,
    chosen: tuple[Size, Size],
) -> None:
    if skip2 is not None and skip1 is None:
        raise ContractError(_OP, "skip2", "must be None where skip1 is", shape(skip2))
    for name, skip in (("skip1", skip1), ("skip2", skip2)):
        if skip is None:
            continue
        check_same_dtype(_OP, name, skip, "expanded_permuted_rows", rows.dtype)
        if not same_sizes(skip.shape, (chosen[0], rows.shape[-1])):
            raise ContractError(_OP, name, f"must be {(chosen[0], rows.shape[-1])}, as the result", shape(skip))
    if experts is not None:
        check_dtype(_OP, "export_for_source_row", experts, (torch.int32,))
        if not same_sizes(experts.shape, chosen):
            raise ContractError(_OP, "export_for_source_row", f"must be {chosen}, one a choice", shape(experts))
    if bias is None:
        return
    check_same_dtype(_OP, "bias", bias, "expanded_permuted_rows", rows.dtype)
    check_rank(_OP, "bias", bias, 2, 2)
    if not same_sizes(bias.shape[1:], rows.shape[-1:]):
        raise ContractError(_OP, "bias", f"must have rows of {rows.shape[-1]}, as the result", shape(bias))
    if experts is None:
        raise ContractError(_OP, "export_for_source_row", "must say the experts where there is a bias", None)


def _token_choices(scales: torch.Tensor | None, places: torch.Tensor, k: int) -> tuple[Size, Size]:
    """(T, K)"""
    return (scales.shape[0], scales.shape[1]) if scales is not None else (places.shape[0] // k, k)


def _fake_finalize(
    expanded_permuted_rows: torch.Tensor,
    skip1: torch.Tensor | None,
    skip2: torch.Tensor | None,
    bias: torch.Tensor | None,
    scales: torch.Tensor | None,
    expanded_src_to_dst_row: torch.Tensor,
    export_for_source_row: torch.Tensor | None,
    drop_pad_mode: int | None = 0,
    k: int | None = 1,
) -> torch.Tensor:
    rows, places = expanded_permuted_rows, expanded_src_to_dst_row
    _check_finalize(rows, skip1, skip2, bias, scales, places, export_for_source_row, drop_pad_mode or 0, k or 0)
    return rows.new_empty((_token_choices(scales, places, k or 0)[0], rows.shape[-1]))


OPS = (
    Op(
        "npu_moe_finalize_routing(Tensor expanded_permuted_rows, Tensor? skip1, Tensor? skip2, Tensor? bias, "
        "Tensor? scales, Tensor expanded_src_to_dst_row, Tensor? export_for_source_row, int? drop_pad_mode=0, "
        "int? k=1) -> Tensor",
        npu_moe_finalize_routing,
        _fake_finalize,
    ),
)

"""Experts' products in one op, npu_grouped_matmul: the form that a mixture of experts calls.

One x whose rows are sorted by expert, one weight with all experts, groups along the rows. Lists of more tensors, groups
along k, quantization and activations have no kernel here. Limits are those of the op's documentation in the public
op-plugin repository and, for the bias of one weight, of the public operator source. Not seen on a device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
from porter.npu.grouped_product import COUNTS, CUMULATIVE, fused_product, grouped_product, is_fused, rows_of_experts
from porter.npu.once import once_a_signature
from porter.npu.registry import Op

_OP = "npu_grouped_matmul"
_MOST_GROUPS = 1024
_INNER_LIMIT = 65536


def npu_grouped_matmul(
    x: Sequence[torch.Tensor],
    weight: Sequence[torch.Tensor],
    *,
    bias: Sequence[torch.Tensor] | None = None,
    group_list: torch.Tensor | None = None,
    split_item: int | None = 0,
    group_type: int | None = None,
    group_list_type: int | None = 0,
    act_type: int | None = 0,
    **unused: object,
) -> list[torch.Tensor]:
    """`x[0][rows of e] @ weight[0][e] + bias[0][e]` for each expert e: a list of one tensor (M, N), x's dtype.

    x: one tensor (M, K), contiguous, float16, bfloat16 or float32. weight: one tensor (E, K, N), x's dtype, contiguous
    or the transposed view of a contiguous (E, N, K) (in a TorchAir graph a Transpose, which the engine folds for frozen
    parameters). bias: one tensor (E, N): **float32 beside bfloat16**, otherwise x's dtype. group_list: (E,) int64,
    rows of each expert (group_list_type 1, with two experts or more) or the last row + 1 of each (0); they make up all
    of M, an expert may have none. split_item 2 or 3 (one result), group_type 0 (groups of rows); act_type is for
    quantized products. E up to 1024, the last sizes of x and weight, as it lies in memory, under 65536. Summed in
    float32, bias added, rounded once. Raises ContractError for what the torch_npu op documentation forbids and for the
    forms without a kernel here; that a group_list does not make up M is not noticed on the device. 310P is not taken.
    """
    form: dict[str, Any] = {"split_item": split_item, "group_type": group_type, "act_type": act_type, **unused}
    return [
        grouped_product(*_checked(x, weight, bias=bias, group_list=group_list, group_list_type=group_list_type, **form))
    ]


def decomposed(x: Sequence[torch.Tensor], weight: Sequence[torch.Tensor], **options: Any) -> list[torch.Tensor]:
    """npu_grouped_matmul in a compiled graph: of few rows a loop, otherwise one op, `porter::grouped_product`, as which
    experts have rows is known when it runs, and only they are read. In float32, where a sum is not rounded before its
    bias anyway, the bias is left to the compiler, which adds it in the loop that comes next."""
    states, experts, bias, *groups = _checked(x, weight, **options)
    if is_fused(states, experts):
        return [fused_product(states, experts, bias, *groups)]
    apart = bias is not None and states.dtype is torch.float32
    product = torch.ops.porter.grouped_product(states, experts, None if apart else bias, *groups)
    return [product + rows_of_experts(bias, states, *groups) if apart else product]


def _checked(
    x: Sequence[torch.Tensor],
    weight: Sequence[torch.Tensor],
    *,
    bias: Sequence[torch.Tensor] | None = None,
    group_list: torch.Tensor | None = None,
    split_item: int | None = 0,
    group_type: int | None = None,
    group_list_type: int | None = 0,
    act_type: int | None = 0,
    **unused: object,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor, int]:
    """The arguments of `grouped_product`."""
    states, experts, added = _one("x", x), _one("weight", weight), None if bias is None else _one("bias", bias)
    _check_unused(unused)
    _check(states, experts, added, group_list, split_item, group_type, group_list_type, act_type, _is_turned(experts))
    assert group_list is not None and group_list_type is not None
    return states, experts, added, group_list, group_list_type


def _one(name: str, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    if len(tensors) != 1:
        raise ContractError(_OP, name, "must be a list of one tensor: more have no kernel here", f"{len(tensors)}")
    return tensors[0]


def _is_turned(weight: torch.Tensor) -> bool:
    """Whether (E, K, N) is the transposed view of a contiguous (E, N, K)."""
    return weight.dim() == 3 and not weight.is_contiguous() and weight.transpose(1, 2).is_contiguous()


@once_a_signature
def _check(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    group_list: torch.Tensor | None,
    split_item: int | None,
    group_type: int | None,
    group_list_type: int | None,
    act_type: int | None,
    turned: bool,
) -> None:
    check_chip(_OP, (A2, A3, ASCEND_950))
    check_dtype(_OP, "x", x, HALF_OR_FLOAT)
    check_rank(_OP, "x", x, 2, 2)
    check_same_dtype(_OP, "weight", weight, "x", x.dtype)
    check_rank(_OP, "weight", weight, 3, 3)
    if not x.is_contiguous():
        raise ContractError(_OP, "x", "must not be transposed", f"strides {x.stride()}")
    if not (weight.is_contiguous() or turned):
        limit = "must be contiguous, or its last two dimensions the transpose of such"
        raise ContractError(_OP, "weight", limit, f"strides {weight.stride()}")
    if violated(x.shape[1] == weight.shape[1]):
        raise ContractError(_OP, "weight", f"must be (E, K, N) with K of x {shape(x)}", shape(weight))
    for name, tensor, last in (("x", x, x.shape[1]), ("weight", weight, weight.shape[1 if turned else 2])):
        if violated(last < _INNER_LIMIT):
            raise ContractError(_OP, name, f"must have a last size in memory under {_INNER_LIMIT}", shape(tensor))
    if bias is not None:
        wanted = torch.float32 if x.dtype is torch.bfloat16 else x.dtype
        check_dtype(_OP, "bias", bias, (wanted,))
        if not same_sizes(bias.shape, (weight.shape[0], weight.shape[2])):
            raise ContractError(_OP, "bias", f"must be (E, N) of weight {shape(weight)}", shape(bias))
    for option, value, known in (
        ("split_item", split_item, (2, 3)),
        ("group_type", group_type, (0,)),
        ("group_list_type", group_list_type, (CUMULATIVE, COUNTS)),
        ("act_type", act_type, (0, None)),
    ):
        if value not in known:
            limit = f"must be {' or '.join(map(str, known))} for one x, one weight and one result"
            raise ContractError(_OP, option, limit, value)
    _check_groups(group_list, weight, group_list_type)


def _check_groups(group_list: torch.Tensor | None, weight: torch.Tensor, kind: int | None) -> None:
    if group_list is None:
        raise ContractError(_OP, "group_list", "must be given for one x and one weight", None)
    check_dtype(_OP, "group_list", group_list, (torch.int64,))
    if not same_sizes(group_list.shape, weight.shape[:1]):
        limit = f"must have a value for each expert of weight {shape(weight)}"
        raise ContractError(_OP, "group_list", limit, shape(group_list))
    if violated(group_list.shape[0] <= _MOST_GROUPS):
        raise ContractError(_OP, "group_list", f"must have at most {_MOST_GROUPS} groups", shape(group_list))
    if kind == COUNTS and violated(group_list.shape[0] != 1):
        limit = "must have two groups or more with group_list_type 1, give one as group_list_type 0"
        raise ContractError(_OP, "group_list", limit, shape(group_list))


def _check_unused(unused: dict[str, object]) -> None:
    """Every other argument of the schema serves quantization or a gradient; left out, it is None."""
    for name, value in unused.items():
        if value is not None:
            raise ContractError(_OP, name, "must be left out: there is no quantized kernel here", value)


def _fake(x: Sequence[torch.Tensor], weight: Sequence[torch.Tensor], **options: Any) -> list[torch.Tensor]:
    states, experts, *_ = _checked(x, weight, **options)
    return [states.new_empty((states.shape[0], experts.shape[2]))]


OPS = (
    Op(
        "npu_grouped_matmul(Tensor[] x, Tensor[] weight, *, Tensor[]? bias=None, Tensor[]? scale=None, "
        "Tensor[]? offset=None, Tensor[]? antiquant_scale=None, Tensor[]? antiquant_offset=None, "
        "Tensor[]? per_token_scale=None, Tensor? group_list=None, Tensor[]? activation_input=None, "
        "Tensor[]? activation_quant_scale=None, Tensor[]? activation_quant_offset=None, int? split_item=0, "
        "int? group_type=None, int? group_list_type=0, int? act_type=0, int[]? tuning_config=None, "
        "int? output_dtype=None, int? x_dtype=None, int? weight_dtype=None, int? scale_dtype=None, "
        "int? per_token_scale_dtype=None) -> Tensor[]",
        npu_grouped_matmul,
        _fake,
    ),
)

"""Routers, and rows on their way to experts and back. Arithmetic and limits are those of their op in `porter.npu`."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from porter.graph.call import Kernel
from porter.npu.moe_combine import npu_moe_finalize_routing
from porter.npu.moe_gating import npu_moe_gating_top_k, npu_moe_gating_top_k_softmax
from porter.npu.moe_routing import npu_moe_init_routing_v2


def moe_gating_top_k_softmax(x: Tensor, finished: Tensor | None = None, *, k: int) -> tuple[Tensor, ...]:
    """Weights, experts int32, and their row numbers by columns."""
    return npu_moe_gating_top_k_softmax(x, finished, k)


def moe_gating_top_k(
    x: Tensor,
    bias: Tensor | None = None,
    *,
    k: int,
    k_group: int = 1,
    group_count: int = 1,
    group_select_mode: int = 0,
    renorm: int = 0,
    norm_type: int = 0,
    out_flag: bool = False,
    routed_scaling_factor: float = 1.0,
    eps: float = 1e-20,
) -> tuple[Tensor, ...]:
    """Weights, experts int32, and the scores of all, which are unwritten without out_flag."""
    return npu_moe_gating_top_k(
        x,
        k,
        bias=bias,
        k_group=k_group,
        group_count=group_count,
        group_select_mode=group_select_mode,
        renorm=renorm,
        norm_type=norm_type,
        out_flag=out_flag,
        routed_scaling_factor=routed_scaling_factor,
        eps=eps,
    )


def moe_init_routing_v3(
    x: Tensor,
    expert_idx: Tensor,
    scale: Tensor | None = None,
    *,
    active_num: int = -1,
    expert_num: int = -1,
    expert_tokens_num_type: int = 0,
    expert_tokens_num_flag: bool = False,
    active_expert_range: Sequence[int] = (),
    row_idx_type: int = 0,
) -> tuple[Tensor, ...]:
    """Rows by expert, where each choice went, how many each expert has, and scales."""
    return npu_moe_init_routing_v2(
        x,
        expert_idx,
        scale=scale,
        active_num=active_num,
        expert_num=expert_num,
        expert_tokens_num_type=expert_tokens_num_type,
        expert_tokens_num_flag=expert_tokens_num_flag,
        active_expert_range=active_expert_range,
        row_idx_type=row_idx_type,
    )


def moe_finalize_routing_v2(
    expanded_x: Tensor,
    expanded_row_idx: Tensor,
    x1: Tensor | None = None,
    x2: Tensor | None = None,
    bias: Tensor | None = None,
    scales: Tensor | None = None,
    expert_idx: Tensor | None = None,
    *,
    drop_pad_mode: int = 0,
    k: int = 1,
) -> Tensor:
    """`x1 + x2 + ` the weighed sum of each token's rows."""
    return npu_moe_finalize_routing(expanded_x, x1, x2, bias, scales, expanded_row_idx, expert_idx, drop_pad_mode, k)


KERNELS = {
    "MoeGatingTopKSoftmax": Kernel(moe_gating_top_k_softmax),
    "MoeGatingTopK": Kernel(moe_gating_top_k),
    "MoeInitRoutingV3": Kernel(moe_init_routing_v3, {"expert_capacity": -1, "drop_pad_mode": 0, "quant_mode": -1}),
    "MoeFinalizeRoutingV2": Kernel(moe_finalize_routing_v2),
}

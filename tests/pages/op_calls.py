"""One call of each op that ports use, of any size and dtype: shapes alone, so that the largest sizes cost nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from porter.npu import ContractError, chip

F16, BF16, F32 = torch.float16, torch.bfloat16, torch.float32


def empty(*shape: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def rms_norm(dtype=F16, shape=(2, 64), gamma=None):
    x = empty(*shape, dtype=dtype)
    return torch.ops.npu.npu_rms_norm(x, empty(shape[-1], dtype=gamma or dtype))


def add_rms_norm(dtype=F16, shape=(2, 64), gamma=None):
    x = empty(*shape, dtype=dtype)
    return torch.ops.npu.npu_add_rms_norm(x, x, empty(shape[-1], dtype=gamma or dtype))


def rotary_mul(dtype=F16, batch=2, length=4, heads=2, size=64, mode="half", rotate=False, tables=None):
    x, table = empty(batch, length, heads, size, dtype=dtype), empty(1, length, 1, size, dtype=tables or dtype)
    matrix = empty(size, size, dtype=dtype) if rotate else None
    return torch.ops.npu.npu_rotary_mul(x, table, table, mode, matrix)


def attention(dtype=F16, batch=1, length=16, slots=16, heads=4, kv_heads=2, size=64, sinks=False, mask=None, **more):
    """BSND. mask: the dtype of a full one."""
    query = empty(batch, length, heads, size, dtype=dtype)
    key = empty(batch, slots, kv_heads, size, dtype=dtype)
    held = None if mask is None else empty(batch, 1, length, slots, dtype=mask)
    options = {"num_heads": heads, "num_key_value_heads": kv_heads, "input_layout": "BSND", "atten_mask": held, **more}
    return torch.ops.npu.npu_fused_infer_attention_score(query, key, key, softmax_lse_flag=sinks, **options)


def latent(dtype=F16, length=1, heads=16, kv_heads=1, size=512, mask=False, **more):
    """BSND, in two parts."""
    query, key = empty(1, length, heads, size, dtype=dtype), empty(1, 16, kv_heads, size, dtype=dtype)
    query_rope, key_rope = empty(1, length, heads, 64, dtype=dtype), empty(1, 16, kv_heads, 64, dtype=dtype)
    held = empty(1, 1, length, 16, dtype=torch.bool) if mask else None
    options = {"num_heads": heads, "num_key_value_heads": kv_heads, "input_layout": "BSND", "atten_mask": held, **more}
    parts = {"query_rope": query_rope, "key_rope": key_rope}
    return torch.ops.npu.npu_fused_infer_attention_score(query, key, key, **parts, **options)


def halved(name: str, dtype=F16, shape=(2, 64), turned=False, **options):
    x = empty(*shape, dtype=dtype)
    return getattr(torch.ops.npu, name)(x.t() if turned else x, **options)


def scatter_update(dtype=F16, axis=1, rows=2, index=torch.int64):
    return torch.ops.npu.scatter_update_(
        empty(2, 8, 2, 4, dtype=dtype), empty(rows, dtype=index), empty(rows, 1, 2, 4, dtype=dtype), axis
    )


def gating_softmax(dtype=F16, experts=8, k=2):
    return torch.ops.npu.npu_moe_gating_top_k_softmax(empty(4, experts, dtype=dtype), None, k)


def gating(dtype=F16, experts=8, k=2, **options):
    return torch.ops.npu.npu_moe_gating_top_k(empty(4, experts, dtype=dtype), k, **options)


def init_routing(dtype=F16, experts=8, **options):
    given = {"expert_num": experts, "active_expert_range": [0, experts], "expert_tokens_num_type": 1}
    given |= {"expert_tokens_num_flag": True, "active_num": 8, **options}
    return torch.ops.npu.npu_moe_init_routing_v2(empty(4, 16, dtype=dtype), empty(4, 2, dtype=torch.int32), **given)


def grouped_matmul(dtype=F16, experts=4, width=16, counts=True, bias=None, groups=torch.int64):
    x, weight = empty(8, 16, dtype=dtype), empty(experts, 16, width, dtype=dtype)
    held = None if bias is None else [empty(experts, width, dtype=bias)]
    return torch.ops.npu.npu_grouped_matmul(
        [x], [weight], bias=held, group_list=empty(experts, dtype=groups), split_item=3, group_type=0,
        group_list_type=int(counts),
    )  # fmt: skip


def finalize_routing(dtype=F16, scales=None, skip2=None):
    rows, places = empty(8, 16, dtype=dtype), empty(8, dtype=torch.int32)
    beside = empty(4, 16, dtype=dtype) if skip2 else None
    weights = empty(4, 2, dtype=scales or dtype)
    return torch.ops.npu.npu_moe_finalize_routing(rows, None, beside, None, weights, places, None, 2)


def mm_all_reduce(dtype=F16, turned=False, reduce_op="sum"):
    x = empty(16, 16, dtype=dtype)
    return torch.ops.npu.npu_mm_all_reduce_base(x.t() if turned else x, x, "group", reduce_op=reduce_op)


CALLS: dict[str, Callable[..., Any]] = {
    "npu_rms_norm": rms_norm,
    "npu_add_rms_norm": add_rms_norm,
    "npu_rotary_mul": rotary_mul,
    "npu_fused_infer_attention_score": attention,
    "npu_swiglu": partial(halved, "npu_swiglu"),
    "npu_gelu": partial(halved, "npu_gelu"),
    "npu_geglu": partial(halved, "npu_geglu"),
    "npu_clipped_swiglu": partial(halved, "npu_clipped_swiglu"),
    "scatter_update_": scatter_update,
    "npu_moe_gating_top_k_softmax": gating_softmax,
    "npu_moe_gating_top_k": gating,
    "npu_moe_init_routing_v2": init_routing,
    "npu_grouped_matmul": grouped_matmul,
    "npu_moe_finalize_routing": finalize_routing,
    "npu_mm_all_reduce_base": mm_all_reduce,
}


def refusal(call: Callable[[], Any], chip_name: str) -> ContractError | None:
    """What the contract says against a call on a chip, if anything."""
    with chip(chip_name):
        try:
            call()
        except ContractError as error:
            return error
    return None

"""The limits of the page `ops`: a sentence of the page, a call that just fits, and one that does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from porter.npu.chip import A2, A3, ASCEND_310P, ASCEND_950
from tests.pages.op_calls import BF16, CALLS, F16, F32, latent


@dataclass(frozen=True)
class Limit:
    """On `chips` the call of `op` with `fits` is taken, with each of `breaks` refused for its `argument`."""

    op: str
    argument: str
    said: str
    fits: dict[str, Any]
    breaks: tuple[dict[str, Any], ...]
    chips: tuple[str, ...] = (A2, A3)
    call: Callable[..., Any] | None = None

    def calls(self) -> tuple[Callable[[], Any], list[Callable[[], Any]]]:
        call = self.call or CALLS[self.op]
        return partial(call, **self.fits), [partial(call, **each) for each in self.breaks]


EVERY, NOT_310P = (A2, A3, ASCEND_950, ASCEND_310P), (A2, A3, ASCEND_950)
FUSED = "npu_fused_infer_attention_score"
ONE, SEVERAL = {"length": 1}, {"length": 2}

LIMITS = (
    Limit("npu_rms_norm", "input", "2 to 8 dimensions", {"shape": (1,) * 7 + (64,)},
          ({"shape": (64,)}, {"shape": (1,) * 8 + (64,)}), EVERY),
    Limit("npu_rms_norm", "gamma", "the dtype of `input`, or float32 (not on Ascend310P)", {"gamma": F32},
          ({"gamma": BF16},), NOT_310P),
    Limit("npu_rms_norm", "input", "on Ascend310P rows of 32 bytes or more", {"shape": (2, 16)}, ({"shape": (2, 8)},),
          (ASCEND_310P,)),
    Limit("npu_add_rms_norm", "x1", "1 to 8 dimensions", {"shape": (64,)}, ({"shape": (1,) * 8 + (64,)},), EVERY),
    Limit("npu_add_rms_norm", "gamma", "the dtype of `x1`: stricter than `npu_rms_norm`", {}, ({"gamma": F32},), EVERY),
    Limit("npu_rotary_mul", "input", "an even D under 896", {"size": 894}, ({"size": 896}, {"size": 63})),
    Limit("npu_rotary_mul", "input", "on Ascend950 an even D up to 1024", {"size": 1024}, ({"size": 1026},),
          (ASCEND_950,)),
    Limit("npu_rotary_mul", "input", "on Ascend310P D up to 128, a multiple of 32", {"size": 128},
          ({"size": 160}, {"size": 80}), (ASCEND_310P,)),
    Limit("npu_rotary_mul", "input", "B and N under 1000", {"batch": 999, "heads": 999},
          ({"batch": 1000}, {"heads": 1000}), NOT_310P),
    Limit("npu_rotary_mul", "input", "in mode `interleave` B * N under 1000",
          {"batch": 3, "heads": 333, "mode": "interleave"}, ({"batch": 4, "heads": 250, "mode": "interleave"},),
          NOT_310P),
    Limit("npu_rotary_mul", "rotary_mode", "on Ascend310P `half` alone", {}, ({"mode": "interleave"},), (ASCEND_310P,)),
    Limit("npu_rotary_mul", "r1", "beside `rotate` the dtype of `input`", {"rotate": True},
          ({"rotate": True, "tables": F32},)),
    Limit(FUSED, "num_heads", "1 to 256", {"heads": 256, "kv_heads": 4}, ({"heads": 257, "kv_heads": 257},)),
    Limit(FUSED, "num_key_value_heads", "divides `num_heads`, 64 query heads to one at most",
          {"heads": 64, "kv_heads": 1}, ({"heads": 65, "kv_heads": 1}, {"heads": 4, "kv_heads": 3})),
    Limit(FUSED, "query", "D up to 512, a multiple of 8", {"size": 512}, ({"size": 520}, {"size": 60})),
    Limit(FUSED, "query", "B up to 65536 with one position", {**ONE, "batch": 65536}, ({**ONE, "batch": 65537},)),
    Limit(FUSED, "query", "B up to 128 with several positions, where D is no multiple of 16",
          {**SEVERAL, "batch": 128, "size": 72}, ({**SEVERAL, "batch": 129, "size": 72},)),
    Limit(FUSED, "key", "S up to 262144 for one position of `query`", {**ONE, "slots": 262144},
          ({**ONE, "slots": 262145},)),
    Limit(FUSED, "query", "S of both up to 20971520 for several", {**SEVERAL, "slots": 20971520},
          ({**SEVERAL, "slots": 20971521},)),
    Limit(FUSED, "sparse_mode", "0 to 4", {"sparse_mode": 0}, ({"sparse_mode": 5},)),
    Limit(FUSED, "atten_mask", "bool, int8 or uint8", {"mask": torch.bool}, ({"mask": F16},)),
    Limit(FUSED, "num_heads", "with latents (D 512) 1, 2, 4, 8, 16, 32, 64 or 128", {"heads": 128}, ({"heads": 24},),
          call=latent),
    Limit(FUSED, "num_key_value_heads", "with latents 1", {"kv_heads": 1}, ({"kv_heads": 2},), call=latent),
    Limit(FUSED, "query", "with rope parts D 128 or 512", {"size": 128}, ({"size": 256},), call=latent),
    Limit(FUSED, "atten_mask", "with latents and one position none: nothing may be padded on the left", {},
          ({"mask": True},), call=latent),
    Limit("npu_swiglu", "input", "an even size along `dim`, contiguous", {}, ({"shape": (2, 63)}, {"turned": True}),
          EVERY),
    Limit("npu_gelu", "approximate", "`none` (erf) or `tanh`", {"approximate": "tanh"}, ({"approximate": "erf"},),
          EVERY),
    Limit("npu_geglu", "approximate", "0 (erf) or 1 (tanh)", {"approximate": 0}, ({"approximate": 2},), EVERY),
    Limit("npu_geglu", "input", "an even size along `dim`", {}, ({"shape": (2, 63)},), EVERY),
    Limit("npu_clipped_swiglu", "x", "2 to 8 dimensions, contiguous", {}, ({"shape": (64,)}, {"turned": True}),
          NOT_310P),
    Limit("npu_clipped_swiglu", "limit", "over 0", {"limit": 0.5}, ({"limit": 0.0},), NOT_310P),
    Limit("scatter_update_", "axis", "not the batch's", {"axis": 1}, ({"axis": 0},), NOT_310P),
    Limit("scatter_update_", "indices", "int32 or int64", {"index": torch.int32}, ({"index": torch.int16},), NOT_310P),
    Limit("npu_moe_gating_top_k_softmax", "k", "1 to E, 1024 at most", {"experts": 1024, "k": 1024},
          ({"experts": 2048, "k": 1025}, {"experts": 8, "k": 9})),
    Limit("npu_moe_gating_top_k", "x", "2048 experts at most", {"experts": 2048}, ({"experts": 2049},), NOT_310P),
    Limit("npu_moe_gating_top_k", "group_count", "divides the experts into groups of more than two",
          {"experts": 9, "group_count": 3}, ({"experts": 8, "group_count": 4}, {"experts": 8, "group_count": 3}),
          NOT_310P),
    Limit("npu_moe_gating_top_k", "renorm", "0", {"renorm": 0}, ({"renorm": 1},), NOT_310P),
    Limit("npu_moe_init_routing_v2", "expert_num", "1 to 10240", {"experts": 10240}, ({"experts": 10241},), NOT_310P),
    Limit("npu_moe_init_routing_v2", "active_num", "all choices", {}, ({"active_num": 7},), NOT_310P),
    Limit("npu_moe_init_routing_v2", "drop_pad_mode", "0", {}, ({"drop_pad_mode": 1},), NOT_310P),
    Limit("npu_grouped_matmul", "group_list", "1024 experts at most, int64", {"experts": 1024},
          ({"experts": 1025}, {"groups": torch.int32}), NOT_310P),
    Limit("npu_grouped_matmul", "weight", "a last size in memory under 65536", {"width": 65535}, ({"width": 65536},),
          NOT_310P),
    Limit("npu_grouped_matmul", "bias", "float32 beside bfloat16, else the dtype of `x`", {"dtype": BF16, "bias": F32},
          ({"dtype": BF16, "bias": BF16},), NOT_310P),
    Limit("npu_moe_finalize_routing", "scales", "the dtype of the rows", {}, ({"scales": F32},), NOT_310P),
    Limit("npu_moe_finalize_routing", "skip2", "only beside `skip1`", {}, ({"skip2": True},), NOT_310P),
    Limit("npu_mm_all_reduce_base", "x1", "not transposed", {}, ({"turned": True},), (A2,)),
    Limit("npu_mm_all_reduce_base", "reduce_op", "`sum`", {}, ({"reduce_op": "max"},), (A2,)),
)  # fmt: skip

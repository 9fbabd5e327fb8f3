"""Stands in for `torch_npu` where there is no NPU stack: the same ops by the same names, computed on the CPU.

Each name is a function, as in the wheel: a graph captured through it holds `torch.ops.npu.<op>.default`, and a call in
eager mode goes straight to the CPU kernel where that is the same (`porter.npu.direct`).
"""

from typing import NoReturn

import porter.npu
from porter.npu.registry import call_of

npu_rms_norm = call_of("npu_rms_norm")
npu_gemma_rms_norm = call_of("npu_gemma_rms_norm")
npu_add_rms_norm = call_of("npu_add_rms_norm")
npu_add_rms_norm_cast = call_of("npu_add_rms_norm_cast")
npu_rotary_mul = call_of("npu_rotary_mul")
npu_interleave_rope = call_of("npu_interleave_rope")
npu_apply_rotary_pos_emb = call_of("npu_apply_rotary_pos_emb")
npu_fused_infer_attention_score = call_of("npu_fused_infer_attention_score")
npu_gelu = call_of("npu_gelu")
npu_swiglu = call_of("npu_swiglu")
npu_geglu = call_of("npu_geglu")
npu_clipped_swiglu = call_of("npu_clipped_swiglu")
scatter_update = call_of("scatter_update")
scatter_update_ = call_of("scatter_update_")
npu_scatter_nd_update = call_of("npu_scatter_nd_update")
npu_scatter_nd_update_ = call_of("npu_scatter_nd_update_")
npu_mm_all_reduce_base = call_of("npu_mm_all_reduce_base")
npu_moe_gating_top_k_softmax = call_of("npu_moe_gating_top_k_softmax")
npu_moe_gating_top_k = call_of("npu_moe_gating_top_k")
npu_moe_init_routing_v2 = call_of("npu_moe_init_routing_v2")
npu_grouped_matmul = call_of("npu_grouped_matmul")
npu_moe_finalize_routing = call_of("npu_moe_finalize_routing")


def __getattr__(name: str) -> NoReturn:
    there = ", ".join(porter.npu.implemented())
    raise AttributeError(f"porter.npu.torch_npu has no CPU kernel for {name!r}; it has {there}")

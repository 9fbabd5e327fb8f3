"""Stands in for `torch_npu` where there is no NPU stack: the same ops by the same names, computed on the CPU.

Each name is the op itself, so a graph captured through it holds `torch.ops.npu.<op>.default`, as one captured with
the wheel.
"""

from typing import NoReturn

import torch

import porter.npu

npu_rms_norm = torch.ops.npu.npu_rms_norm.default
npu_gemma_rms_norm = torch.ops.npu.npu_gemma_rms_norm.default
npu_add_rms_norm = torch.ops.npu.npu_add_rms_norm.default
npu_rotary_mul = torch.ops.npu.npu_rotary_mul.default
npu_apply_rotary_pos_emb = torch.ops.npu.npu_apply_rotary_pos_emb.default
npu_fused_infer_attention_score = torch.ops.npu.npu_fused_infer_attention_score.default
npu_swiglu = torch.ops.npu.npu_swiglu.default
scatter_update = torch.ops.npu.scatter_update.default
scatter_update_ = torch.ops.npu.scatter_update_.default
npu_scatter_nd_update = torch.ops.npu.npu_scatter_nd_update.default
npu_scatter_nd_update_ = torch.ops.npu.npu_scatter_nd_update_.default
npu_mm_all_reduce_base = torch.ops.npu.npu_mm_all_reduce_base.default


def __getattr__(name: str) -> NoReturn:
    there = ", ".join(porter.npu.implemented())
    raise AttributeError(f"porter.npu.torch_npu has no CPU kernel for {name!r}; it has {there}")

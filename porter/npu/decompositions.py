"""The ops in terms of PyTorch's own, for a compiler that fuses them on the CPU instead of calling a kernel each.

Contract: each computes and rounds what the CPU kernel does, on the chip that is stood in for when a graph is traced,
and changes nothing in place, which the compiler no longer takes at this stage. Sizes are checked then. What a kernel
finds out from values is not known yet: a write outside a cache is the compiler's error, not a ContractError. The
products of a mixture of experts stay one op, porter's own: which experts have rows is known when it runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from porter.npu.activation import npu_clipped_swiglu, npu_geglu, npu_gelu, npu_swiglu
from porter.npu.attention import npu_fused_infer_attention_score
from porter.npu.grouped_matmul import decomposed as grouped_matmul
from porter.npu.moe_combine import npu_moe_finalize_routing
from porter.npu.moe_gating import npu_moe_gating_top_k, npu_moe_gating_top_k_softmax
from porter.npu.moe_routing import npu_moe_init_routing_v2
from porter.npu.norm import npu_add_rms_norm, npu_gemma_rms_norm, npu_rms_norm
from porter.npu.rotary import npu_rotary_mul
from porter.npu.rotary_interleaved import npu_interleave_rope
from porter.npu.scatter import run_places


def scatter_update(input: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor, axis: int) -> torch.Tensor:
    """A copy of input with `updates[i]` in row i along axis, from position `indices[i]` on: one write of all rows."""
    rows, positions = run_places(indices, updates.shape[0], updates.shape[axis])
    written = input.movedim(axis, 1).index_put((rows, positions), updates.movedim(axis, 1))
    return written.movedim(1, axis)


def decompositions() -> dict[Any, Callable[..., Any]]:
    """Op -> what it is made of. In-place writes are there as the pure ops that they become in a functional graph."""
    norms = (npu_rms_norm, npu_gemma_rms_norm, npu_add_rms_norm)
    activations = (npu_gelu, npu_swiglu, npu_clipped_swiglu, npu_geglu)
    routers = (npu_moe_gating_top_k_softmax, npu_moe_gating_top_k, npu_moe_init_routing_v2, npu_moe_finalize_routing)
    attention = (npu_rotary_mul, npu_interleave_rope, npu_fused_infer_attention_score, scatter_update)
    kernels = (*norms, *activations, *routers, *attention)
    found = {getattr(torch.ops.npu, kernel.__name__).default: kernel for kernel in kernels}
    return {**found, torch.ops.npu.npu_grouped_matmul.default: grouped_matmul}

"""Attention over a cache of latents (MLA): what one kernel takes.

Contract: BSND. Queries and keys may be wider than values or narrower; npu_fused_infer_attention_score has one width for
all three, but where its documentation names two parts. Zeros beside a query and a key add nothing to their product,
and zeros beside a value come out as zeros.
"""

from __future__ import annotations

import torch


def at_one_width(*states: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """States (B, S, N, D), each filled up with zeros to the widest D."""
    width = max(tensor.shape[-1] for tensor in states)
    return tuple(
        tensor if tensor.shape[-1] == width else torch.nn.functional.pad(tensor, (0, width - tensor.shape[-1]))
        for tensor in states
    )

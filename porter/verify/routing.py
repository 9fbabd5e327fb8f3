"""What proofs of routers run them with, and how their choices are compared. No rule of its own is here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

_NAMES = ("logits", "shares", "chosen")


def sigmoid_router(draw: Any) -> tuple[Any, torch.Tensor]:
    """A router of 16 experts in groups, with a bias, and logits for 7 tokens, (7, 16).

    Its rows pick the logits out of the input unrounded; sigmoids of 16 bits are seldom equal with a bias.
    """
    groups = draw.choice((1, 2, 4))
    router = draw.module(num_experts=16, num_group=groups, topk_group=draw.choice((1, 2)) if groups > 1 else 1, top_k=2)
    router.norm_topk_prob, router.routed_scaling_factor = draw.choice((True, False)), draw.choice((1.0, 2.5))
    router.router_logit_softcapping = draw.choice((0.0, 4.0))
    router.weight = torch.eye(16, dtype=draw.dtype)
    router.gate = nn.Identity()
    router.e_score_correction_bias = draw.uniform(16, high=0.5)
    return router, draw.normal(7, 16)


def shares_by_expert(results: Iterable[Any]) -> list[torch.Tensor]:
    """For each result (logits, shares, chosen), (T, E) and (T, K) twice: the share of every expert, (T, E).

    The order of equal shares is nobody's promise, and the order of the best is not asked for.
    """
    found = []
    for result in results:
        logits, shares, chosen = (result[name] for name in _NAMES) if isinstance(result, dict) else result
        found.append(torch.zeros_like(logits, dtype=shares.dtype).scatter(1, chosen.long(), shares))
    return found

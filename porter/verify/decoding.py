"""What a proof of an attention rule runs: a padded prefill and two decode steps, over a cache and masks of the rule's.

Contract: `kernel(self, q, k, v, cos, sin, mask, cache)` gives the output (batch, length, heads, head_dim) of one step;
`cache_edit` and `mask_edit` are the functions of the edits of those names. Of the outputs, those of padding are 0.
Turns are by quarters, which no dtype rounds: what differs is the kernel's; or by any angle, where `turn` says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import LlamaConfig

from porter.runtime.cache_name import with_cache
from porter.verify.draw import Draw

Side = Callable[..., Any]
Turn = Callable[[Draw, int, int], tuple[torch.Tensor, torch.Tensor]]
HEADS, HEAD_DIM = 4, 16


def by_quarters(draw: Draw, length: int, turned: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cos and sin, (2, length, turned), of quarters of a turn."""
    quarter = torch.tensor([1, 0, -1, 0], dtype=draw.dtype)
    quarters = draw.integers(0, 4, 2, length, turned // 2).repeat(1, 1, 2)
    return quarter[quarters], quarter[(quarters + 3) % 4]


def by_any_angle(draw: Draw, length: int, turned: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The same, of drawn angles."""
    angle = draw.uniform(2, length, turned // 2).repeat(1, 1, 2)
    return angle.cos(), angle.sin()


def prefill_and_decode(
    draw: Draw,
    kernel: Side,
    cache_edit: Side,
    mask_edit: Side,
    *,
    window: int | None = None,
    key_heads: int = 2,
    turned: int = HEAD_DIM,
    turn: Turn | None = None,
    implementation: str = "sdpa",
    **attributes: Any,
) -> list[torch.Tensor]:
    """The outputs of a prefill of 7, of which up to 3 are padding, and of two steps of 1.

    `key_heads` of keys and values; cos and sin of `turned` channels, by `turn`; masks of the source are made for
    `implementation`; `attributes` of the attention's `self`.
    """
    config = LlamaConfig(num_attention_heads=HEADS, num_key_value_heads=key_heads, num_hidden_layers=1)
    config._attn_implementation = implementation
    config.sliding_window = window
    model = draw.module(config=config)
    groups = HEADS // key_heads
    self = draw.module(
        config=config, layer_idx=0, num_key_value_groups=groups, training=False, is_causal=True, **attributes
    )
    cache, outputs, seen = None, [], 0
    for length in (7, 1, 1):
        cache = cache_edit(model, True, cache, None)["cache"]
        seen += length
        padding = torch.ones(2, seen, dtype=torch.int64)
        padding[0, :3] = 0
        make = mask_edit(model)
        mask = make(
            config=config,
            inputs_embeds=draw.normal(2, length, 8),
            attention_mask=padding,
            position_ids=None,
            **with_cache(make, cache),
        )
        q, k, v = (draw.normal(2, length, heads, HEAD_DIM) for heads in (HEADS, key_heads, key_heads))
        cos, sin = (turn or by_quarters)(draw, length, turned)
        outputs.append(kernel(self, q, k, v, cos, sin, mask, cache) * padding[:, -length:, None, None])
    return outputs

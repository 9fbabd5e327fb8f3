"""ALiBi: what attention adds to its scores by how far a key lies before its query, as the kernel takes it.

Contract: (1 or B, N, Q, KV) contiguous, in the states' dtype, `pse_shift` of npu_fused_infer_attention_score: `slope *
(key - query)`, 0 for keys behind their query, which the mask leaves out. A source that adds `slope * key` adds another
number to all keys of a query, which no softmax sees; counted from the query, 16 bits hold the near keys exactly. No
host sync.
"""

from __future__ import annotations

import torch

from porter.runtime.cache import StaticKVCache
from porter.runtime.masks import places, without_padding


def alibi_shift(
    slopes: torch.Tensor,
    inputs_embeds: torch.Tensor,
    attention_mask: torch.Tensor | None,
    past_key_values: StaticKVCache | None,
    longest: int | None = None,
) -> torch.Tensor:
    """slopes: (N,) float32, what a score loses for each token between. inputs_embeds (B, Q, H) gives sizes, dtype and
    device. attention_mask: None where slots of the cache are counted; (B, L) with 0 = padding where tokens are counted
    that are none. KV is the cache's slots. longest: tokens from which on the source has no shift. ValueError for more
    of them, but in compiled steps, which count none, and for another mask."""
    batch, queries = inputs_embeds.shape[:2]
    slots = queries
    if past_key_values is not None:
        past_key_values.cursor.settle()
        slots = past_key_values.get_mask_sizes(queries, 0)[0]
    if longest is not None and not torch.compiler.is_compiling():
        seen = queries + (0 if past_key_values is None else past_key_values.cursor.seen())
        if seen > longest:
            raise ValueError(f"{seen} tokens are more than the {longest} that the configuration has an ALiBi shift for")
    query, key = places(inputs_embeds, past_key_values, queries, slots)
    if attention_mask is not None:
        if attention_mask.ndim != 2 or attention_mask.shape[0] != batch:
            raise ValueError(f"ALiBi counts tokens by an attention_mask (B, L), not {tuple(attention_mask.shape)}")
        if not without_padding(attention_mask, batch, queries, past_key_values):
            query, key = _counted(attention_mask.to(inputs_embeds.device), query, slots)
    distance = (key - query).clamp(max=0)
    return (slopes[:, None, None] * distance).to(inputs_embeds.dtype).contiguous()


def _counted(attention_mask: torch.Tensor, query: torch.Tensor, slots: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Which token of its row each query and key is: (B, 1, Q, 1) and (B, 1, 1, KV), from the queries' slots."""
    numbers = attention_mask[:, :slots].cumsum(dim=-1)
    numbers = torch.nn.functional.pad(numbers, (0, slots - numbers.shape[-1]))
    at = query[:, 0, :, 0].expand(numbers.shape[0], -1)
    return numbers.gather(1, at)[:, None, :, None], numbers[:, None, None, :]

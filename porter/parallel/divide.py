"""Which numbers of a configuration tensor parallelism divides, checked before a weight is read.

Contract: pure arithmetic on a configuration; imports neither torch nor DeepSpeed. Every refusal is a CannotShard.
"""

from __future__ import annotations

from typing import Any

from porter.parallel.by_layer import in_layers

_HEADS = ("num_attention_heads", "num_key_value_heads")
_WIDTHS = ("intermediate_size", "moe_intermediate_size", "shared_expert_intermediate_size")
FUSED_RANKS = (1, 2, 4, 8)  # cards the documentation of npu_mm_all_reduce_base allows


NO_SPLIT_POINTS = "the port has no split points: nothing says how to split it over ranks"


class CannotShard(ValueError):
    """This model cannot be split over that many ranks, or nobody has shown that the split would be right."""


def check_divides(config: Any, world_size: int, *, fused_all_reduce: bool = False) -> None:
    """Raise CannotShard unless every rank gets as many heads and as much of the MLP as every other.

    `config` is a transformers configuration, of a composite model the text part counts. Its numbers of heads
    and its widths of MLPs and experts, as far as it has them, must be multiples of `world_size`: DeepSpeed itself would
    give some ranks more, or none, which merged rows and the fused op do not allow. With
    `fused_all_reduce` the ranks must be 1, 2, 4 or 8, as npu_mm_all_reduce_base has it.
    """
    if world_size < 1:
        raise CannotShard(f"tensor parallelism needs at least one rank, not {world_size}")
    text = config.get_text_config(decoder=True)
    for name in (*_HEADS, *_WIDTHS):
        for value in in_layers(text, name):
            sizes = value if isinstance(value, (list, tuple)) else [value]  # some models have one a layer
            for size in sizes:
                if isinstance(size, int) and size % world_size:
                    raise CannotShard(f"{name} is {size}: that does not divide over tensor-parallel size {world_size}")
    if fused_all_reduce and world_size not in FUSED_RANKS:
        allowed = ", ".join(map(str, FUSED_RANKS))
        raise CannotShard(f"fused_all_reduce runs on {allowed} ranks, not {world_size}: leave it off")


def kv_heads_of_rank(config: Any, world_size: int) -> int:
    """KV heads that each of `world_size` ranks holds: what its KV cache is allocated for."""
    check_divides(config, world_size)
    text = config.get_text_config(decoder=True)
    heads, *others = {found or text.num_attention_heads for found in in_layers(text, "num_key_value_heads")}
    if others:
        raise CannotShard(f"the layers have {sorted((heads, *others))} KV heads: a rank holds no one number of them")
    return heads // world_size

"""What a port's model and attention are called with: the KV cache, and what they must not be asked.

Contract: a port's forward takes what the source's takes. A cache of another kind, and attention weights, are an error
under whatever name they come: the source's `**kwargs` would swallow them, and the port would go on without.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import Cache

from porter.runtime.cache import StaticKVCache, check_kv_cache
from porter.runtime.cache_name import GENERATED


class OtherComputation(ValueError):
    """A configuration or a call asks for what the source would compute and the port does not."""


# What the attention functions of transformers 5.23 take beside query, key, value and mask, and change their result by.
_CHANGES_ATTENTION = ("position_bias", "softcap", "s_aux", "sliding_window", "scaling", "dropout")


def prepare_kv_cache(
    config: Any,
    past_key_values: Cache | None,
    use_cache: bool | None,
    *,
    attention_mask: Any = None,
    **kwargs: Any,
) -> StaticKVCache | None:
    """The cache a port's model uses: the given one, a new elastic one if `use_cache`, else None. A step begins.

    Raises TypeError for another kind of cache (its tensors are BNSD), in `kwargs` too, or for masks by layer type
    (their polarity is not the NPU's), and ValueError where attention weights are asked for, in the call or in the
    config: a port's attention gives none; and for what changes attention, `is_causal=False` or a bias.
    """
    if isinstance(attention_mask, dict):
        raise TypeError("attention_mask is a dict: a port makes its masks itself, from the 2-D or 4-D mask you pass")
    if kwargs.get("output_attentions") is None and getattr(config, "output_attentions", False):
        kwargs["output_attentions"] = True
    _refuse(kwargs)
    cache = check_kv_cache(past_key_values)
    if cache is None and use_cache:
        cache = StaticKVCache(config)
    if cache is not None:
        cache.cursor.begin()
    return cache


def actual_seq_lengths(past_key_values: StaticKVCache | None, layer_idx: int, **kwargs: Any) -> list[int] | None:
    """KV length of each sequence after layer `layer_idx` was updated: what the fused attention reads up to.

    None without a cache, and while compiling: there the lengths are not known to the host. The mask says it all, and a
    graph of mode max-autotune is given them as a tensor (`porter.runner.lengths`).
    `kwargs` are what else the attention was called with: errors as of `prepare_kv_cache`.
    """
    _refuse(kwargs)
    if past_key_values is None or torch.compiler.is_compiling():
        return None
    layer = past_key_values.layers[layer_idx]
    return [layer.length] * layer.batch_size


def _refuse(kwargs: dict[str, Any]) -> None:
    """Caches under another name, attention weights, and what the source's attention would compute beside."""
    if kwargs.get("output_attentions"):
        raise OtherComputation(
            "output_attentions=True: a port's attention gives no weights out. Leave it out, or ask the source model "
            "for them"
        )
    if kwargs.get("is_causal") is False:
        raise OtherComputation("is_causal=False: a port's masks are causal. Leave it out, or ask the source model")
    asked = next((name for name in _CHANGES_ATTENTION if kwargs.get(name) is not None), None)
    if asked is not None:
        raise OtherComputation(
            f"{asked}: a port's attention does not compute it, and the source's would. Leave it out, or ask the source"
        )
    for name, value in kwargs.items():
        if isinstance(value, Cache) or _holds_states(name, value):
            raise TypeError(
                f"{name} is a {type(value).__name__}: a port takes its KV cache as {GENERATED} only, a "
                "porter.runtime.StaticKVCache"
            )


def _holds_states(name: str, value: Any) -> bool:
    """Whether an argument is a cache by its name: `cache`, `past_key_value`, `layer_past`, `block_table` ...

    A flag, a number and the positions that remote code calls `cache_position` hold no states.
    """
    if value is None or isinstance(value, (bool, int, str)) or name == "cache_position":
        return False
    return "cache" in name or "past" in name or name in ("mems", "block_table", "block_tables")

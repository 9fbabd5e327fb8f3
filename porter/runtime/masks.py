"""Attention masks for the fused NPU kernels: bool, True = NOT computed, the reverse of SDPA.

Contract: a (B or 1, 1, Q, KV) contiguous bool tensor whose rows for real tokens are the inverse of what
`transformers.masking_utils` makes for the same arguments; KV is the cache's slots. The kernel does not define a fully
masked row, so a row of padding sees its own position. What this cannot express is an error, never a
different mask. No host sync, except to check the values of an additive mask that the caller made; a mask in the host's
own memory is looked at.

No tensor where the lengths given to the kernel say it all: one new token, no padding, in eager.

A model's layers are handed an `NpuMask`, no tensor: whoever calls a layer as the source's, with a tensor that is True =
keep or with none, is understood as the source understands him.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from porter.npu.direct import is_plain
from porter.rule import NOT_CAUSAL
from porter.runtime.arguments import OtherComputation
from porter.runtime.cache import StaticKVCache, check_kv_cache
from porter.runtime.cache_name import by_either_name

# Below this a softmax weight is 0 in every dtype; masks in the wild use finfo.min, -inf, -1e9 and -1e4.
_MASKED_SCORE = -1e4
_HARMLESS = ("layer_idx", "allow_is_causal_skip")
_FORGETS = (
    "by its configuration (sliding_window, attention_chunk_size, layer_types) the source's cache keeps fewer tokens "
    "of a layer than its mask shows, and a port's keeps them all. Correct the configuration, or ask for no more tokens "
    "than it keeps"
)


class NpuMask(NamedTuple):
    """A mask as the kernel takes it, (B or 1, 1, Q, KV) bool, True = not computed; None where it needs none. A
    tuple: what moves tensors to a device finds it there. `window`: how many tokens a query sees of those the mask is
    for, itself among them."""

    masked: torch.Tensor | None
    window: int | None = None


class EncoderMask(NamedTuple):
    """In the place of a mask over the states of an encoder, which a port of a decoder alone has none of."""


def npu_encoder_mask(encoder_hidden_states: torch.Tensor | None) -> EncoderMask:
    """What a decoder's cross-attention would be handed: no mask of its own sequence. ValueError where there are such
    states."""
    if encoder_hidden_states is not None:
        raise ValueError("this port attends causally to its own sequence: it takes no states of an encoder")
    return EncoderMask()


@by_either_name
def npu_causal_mask(
    config: Any,
    inputs_embeds: torch.Tensor,
    attention_mask: torch.Tensor | None,
    past_key_values: StaticKVCache | None,
    position_ids: torch.Tensor | None = None,
    **unsupported: Any,
) -> NpuMask:
    """What `create_causal_mask` makes, for the NPU: (B or 1, 1, Q, KV) bool, True = not computed; or none.

    inputs_embeds (B, Q, H) gives sizes and device. attention_mask: (B, L) with 0 = padding, L <= KV meaning that the
    rest is not there yet; or (B or 1, 1, Q, L), bool True = keep, or additive with 0 = keep and <= -1e4 = masked, and
    then it is all there is: no causality is added. position_ids (B or 1, Q) count as packed sequences where
    transformers counts them so: without mask and cache. ValueError for bidirectional configs and for the mask hooks of
    transformers.
    """
    return _npu_mask(config, inputs_embeds, attention_mask, past_key_values, position_ids, None, unsupported)


@by_either_name
def npu_sliding_window_causal_mask(
    config: Any,
    inputs_embeds: torch.Tensor,
    attention_mask: torch.Tensor | None,
    past_key_values: StaticKVCache | None,
    position_ids: torch.Tensor | None = None,
    **unsupported: Any,
) -> NpuMask:
    """What `create_sliding_window_causal_mask` makes: each token sees itself and `config.sliding_window` - 1 before."""
    window = getattr(config, "sliding_window", None)
    if window is None:
        raise ValueError("a sliding window mask was asked for, but config.sliding_window is not set")
    return _npu_mask(config, inputs_embeds, attention_mask, past_key_values, position_ids, window, unsupported)


def _npu_mask(
    config: Any,
    inputs_embeds: torch.Tensor,
    attention_mask: torch.Tensor | None,
    past_key_values: StaticKVCache | None,
    position_ids: torch.Tensor | None,
    window: int | None,
    unsupported: dict[str, Any],
) -> NpuMask:
    _refuse(config, unsupported)
    if past_key_values is not None:
        past_key_values.cursor.settle()
    batch, queries = inputs_embeds.shape[:2]
    padded = attention_mask is not None and not without_padding(attention_mask, batch, queries, past_key_values)
    if not padded and past_key_values is not None and _sees_all_written(queries, past_key_values, window):
        return NpuMask(None, window)
    if past_key_values is not None and past_key_values.counts_elsewhere():
        raise ValueError(
            "place 0 of the KV cache is empty, where transformers counts the tokens: number the layers' layer_idx "
            "from 0"
        )
    slots = queries if past_key_values is None else past_key_values.get_mask_sizes(queries, 0)[0]
    query, key = places(inputs_embeds, past_key_values, queries, slots)

    if attention_mask is not None and attention_mask.ndim == 4:
        masked = _see_itself(_from_4d(attention_mask.to(inputs_embeds.device), batch, queries, slots), query, key)
    else:
        masked = key > query
        if window is not None:
            masked = masked | (key <= query - window)
        if attention_mask is not None and padded:
            masked = masked | _padding(attention_mask.to(inputs_embeds.device), batch, queries, slots, past_key_values)
            masked = masked & (key != query)  # a real token sees itself anyway; padding has to see something
        elif attention_mask is None and position_ids is not None and past_key_values is None:
            masked = masked | _other_sequence(position_ids)
    return NpuMask(_rows(masked, batch, queries), window)


def kernel_mask(
    attention_mask: NpuMask | torch.Tensor | None,
    query: torch.Tensor,
    past_key_values: StaticKVCache | None,
    layer_idx: int,
) -> torch.Tensor | None:
    """`atten_mask` for query (B, Q, N, D), layer `layer_idx` of the cache being updated.

    attention_mask is what `npu_causal_mask` made; or, for a layer called without its model, what the source's takes:
    (B or 1, 1, Q, KV), bool True = keep or additive, or None, which is causal, as transformers' sdpa has it.
    OtherComputation where the source's cache would forget tokens, by the configuration, that this mask still shows.
    """
    check_kv_cache(past_key_values)
    if past_key_values is not None:
        _check_window(attention_mask, past_key_values, layer_idx)
    if isinstance(attention_mask, NpuMask):
        return attention_mask.masked
    if isinstance(attention_mask, EncoderMask):
        raise ValueError("the mask of an encoder's states is no mask of the own sequence, which a layer attends to")
    batch, queries = query.shape[:2]
    if attention_mask is None and queries == 1:
        return None
    slots, past = queries, 0
    if past_key_values is not None:
        slots = past_key_values.layers[layer_idx].slots()
        past = _past(past_key_values, layer_idx, queries)
    key = torch.arange(slots, device=query.device)
    at = (torch.arange(queries, device=query.device) + past)[:, None]
    if attention_mask is None:
        if not torch.compiler.is_compiling() and past:
            raise ValueError(f"{queries} tokens behind {past} in the cache need an attention_mask (B, 1, Q, KV)")
        return _rows((key > at)[None, None], batch, queries)
    if attention_mask.ndim != 4:
        raise ValueError(f"a layer's attention_mask is (B or 1, 1, Q, KV), not {tuple(attention_mask.shape)}")
    masked = _from_4d(attention_mask.to(query.device), batch, queries, slots)
    return _rows(_see_itself(masked, at, key), batch, queries)


def _check_window(attention_mask: Any, past_key_values: StaticKVCache, layer_idx: int) -> None:
    """A source's cache forgets what is behind its layer's window, whatever the masks show; up to there they agree."""
    layer, cursor = past_key_values.layers[layer_idx], past_key_values.cursor
    if layer.window is None or (isinstance(attention_mask, NpuMask) and _within(attention_mask.window, layer.window)):
        return
    if not _within(cursor.slots if cursor.sized else layer.length, layer.window):
        raise OtherComputation(_FORGETS)


def _within(tokens: int | None, window: int) -> bool:
    return tokens is not None and tokens <= window


def _past(past_key_values: StaticKVCache, layer_idx: int, queries: int) -> Any:
    """Tokens before those that layer `layer_idx` has just written."""
    if torch.compiler.is_compiling():
        return past_key_values.cursor.seen_on_device()
    return past_key_values.layers[layer_idx].length - queries


def _rows(masked: torch.Tensor, batch: int, queries: int) -> torch.Tensor:
    """Contiguous; with B rows for one token, as the kernel's decode path asks for them."""
    return (masked.expand(batch, -1, -1, -1) if queries == 1 else masked).contiguous()


def places(
    inputs_embeds: torch.Tensor, past_key_values: StaticKVCache | None, queries: int, slots: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Where queries, (B or 1, 1, Q, 1), and keys, (1, 1, 1, KV), are; from what the cache has on the device already."""
    cursor = None if past_key_values is None else past_key_values.cursor
    if cursor is None or cursor.positions is None or cursor.numbers is None or cursor.numbers.shape[0] < slots:
        past = 0 if past_key_values is None else past_key_values.get_seq_length()
        numbers = torch.arange(slots, device=inputs_embeds.device)
        query = (torch.arange(queries, device=inputs_embeds.device) + past)[None, None, :, None]
    elif queries == 1:
        numbers, query = cursor.numbers, cursor.positions[:, None, None, None]
    else:
        numbers, query = cursor.numbers, (cursor.numbers[:queries] + cursor.positions[:1])[None, None, :, None]
    return query, numbers[:slots][None, None, None, :]


def without_padding(
    attention_mask: torch.Tensor, batch: int, queries: int, past_key_values: StaticKVCache | None
) -> bool:
    """A 2-D mask in the host's memory, which nobody traces, that covers every token so far and masks none."""
    if not is_plain(attention_mask):
        return False
    seen = queries if past_key_values is None else queries + past_key_values.cursor.seen()
    return attention_mask.shape in ((1, seen), (batch, seen)) and bool(attention_mask.all())


def _sees_all_written(queries: int, past_key_values: StaticKVCache, window: int | None) -> bool:
    """One token a row, and every position before it is in its window: the kernel needs no mask, only the lengths."""
    if queries != 1 or torch.compiler.is_compiling():
        return False
    return window is None or int(past_key_values.get_seq_length()) < window


def _refuse(config: Any, unsupported: dict[str, Any]) -> None:
    for name, values in NOT_CAUSAL.items():
        value = getattr(config, name, None)
        if any(value is each or value == each for each in values):
            raise OtherComputation(f"config.{name} is {value}: an NPU port attends causally only")
    for name, value in unsupported.items():
        if value is not None and name not in _HARMLESS:
            raise OtherComputation(f"{name} changes the mask in a way an NPU port does not know: use the source model")


def _see_itself(masked: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """Rows with nothing to see get their own position; all others stay as they are."""
    return masked & ((~masked).any(dim=-1, keepdim=True) | (key != query))


def _padding(
    attention_mask: torch.Tensor, batch: int, queries: int, slots: int, past_key_values: StaticKVCache | None
) -> torch.Tensor:
    """(B or 1, 1, 1, KV) bool, True = padding, from (B or 1, L) with 0 = padding."""
    if attention_mask.ndim != 2 or attention_mask.shape[0] not in (1, batch):
        raise ValueError(f"attention_mask is (B, L) or (B, 1, Q, KV) with B={batch}, not {tuple(attention_mask.shape)}")
    length = attention_mask.shape[1]
    if past_key_values is None and length != queries:
        raise ValueError(f"without a cache, attention_mask covers the {queries} tokens given, not {length}")
    padding = attention_mask[:, :slots] == 0
    if length < slots:
        padding = torch.nn.functional.pad(padding, (0, slots - length), value=True)
    return padding[:, None, None, :]


def _other_sequence(position_ids: torch.Tensor) -> torch.Tensor:
    """(B or 1, 1, Q, Q) bool, True between tokens of different packed sequences; (B or 1, Q) positions say which."""
    if position_ids.ndim != 2:
        raise ValueError(f"position_ids are (B, Q), not {tuple(position_ids.shape)}")
    steps = torch.diff(position_ids, prepend=position_ids[:, :1] - 1, dim=-1)
    sequence = (steps != 1).cumsum(-1)  # within a sequence positions count up by one, so index order is position order
    return (sequence[:, :, None] != sequence[:, None, :])[:, None]


def _from_4d(attention_mask: torch.Tensor, batch: int, queries: int, slots: int) -> torch.Tensor:
    """A mask the caller made, turned: (B or 1, 1, Q, KV) bool, True = not computed."""
    rows, heads, given, length = attention_mask.shape
    if rows not in (1, batch) or heads != 1 or given != queries or length > slots:
        raise ValueError(
            f"a 4-D attention_mask is (B or 1, 1, Q, KV) with B={batch}, Q={queries}, KV <= {slots}, "
            f"not {tuple(attention_mask.shape)}"
        )
    if attention_mask.dtype == torch.bool:
        masked = ~attention_mask
    elif not attention_mask.is_floating_point():
        raise TypeError(f"a 4-D attention_mask is bool (True = keep) or additive floats, not {attention_mask.dtype}")
    elif torch.compiler.is_compiling():
        raise TypeError("an additive attention_mask cannot be checked in a compiled step: pass bool, True = keep")
    else:
        masked = attention_mask < 0
        if bool(((attention_mask != 0) & ~(attention_mask <= _MASKED_SCORE)).any()):
            raise ValueError("an additive attention_mask holds 0 and scores <= -1e4; the NPU mask adds no other bias")
    if length < slots:
        masked = torch.nn.functional.pad(masked, (0, slots - length), value=True)
    return masked

"""Static KV cache in BSND: allocated once, written in place, a transformers `Cache` that generate() takes.

Contract: every attention layer holds two tensors (B, slots, N_kv, D), made at its first update from the states' own
shape, dtype and device, so a tensor-parallel rank holds its heads only. `update` takes and returns BSND, not the BNSD
of transformers' caches. All sequences of a batch are equally long (left padding). Slots past the end hold zeros or
stale states: masks and lengths keep them out. Inference only: the cache keeps no gradients.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from porter.runtime.cache_name import GENERATED
from porter.runtime.cropping import tokens_to_remove
from porter.runtime.cursor import CacheFull, Cursor, lasting
from porter.runtime.layer_types import empty_layer, layer_types_and_options

try:
    import torch_npu
except ImportError:  # no NPU stack here: the same ops, computed on the CPU
    from porter.npu import torch_npu

# Sliding and chunked layers keep every position too: the mask makes the window, so that crop and beams stay exact.
_KV_LAYERS = ("full_attention", "sliding_attention", "chunked_attention")


class StaticKVLayer(CacheLayerMixin):
    """The keys and values of one attention layer, (B, slots, N_kv, D) each."""

    is_compileable = False  # generate() would make 4-D masks of its own for a compileable cache
    is_croppable = True

    def __init__(self, cursor: Cursor, index: int, window: int | None = None) -> None:
        super().__init__()
        self.cursor = cursor
        self.index = index  # the layer_idx of the attention that writes here
        self.window = window  # tokens that the source's cache keeps of this layer: its mask is to see no further
        self.length = 0  # host: tokens after this layer's own last update in eager

    def slots(self) -> int:
        return self.keys.shape[1] if self.is_initialized else 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Allocate for states like these, (B, S, N_kv, D), which are written next; S may be 0."""
        batch, steps = key_states.shape[:2]
        slots = self.cursor.make_room(steps)
        self.batch_size = batch
        begun = torch.compiler.is_compiling() or self.cursor.seen()  # or else the states fill the beginning
        written = 0 if begun else steps
        with lasting():
            self.keys, self.values = (_memory_of(states, slots, written) for states in (key_states, value_states))
            self.cursor.allocate(batch, key_states.device)
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write states (B, S, N_kv, D) at the cursor; returns keys and values (B, slots, N_kv, D), all slots."""
        steps, eager = key_states.shape[1], not torch.compiler.is_compiling()
        self.cursor.turn_of(self.index)
        if eager:
            self.length = self._first_position(steps) + steps
        elif self.is_initialized and not self.cursor.sized:
            raise ValueError(
                "a compiled step cannot grow the KV cache: pass StaticKVCache(config, max_cache_len=...), or call "
                "grow_to on this one first"
            )
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self._check_states(key_states, value_states)
        slots = self.keys.shape[1]
        if eager and self.length > slots:
            self.resize(self.cursor.make_room(steps))
        elif not eager and steps > slots:
            raise CacheFull(slots, 0, steps)

        positions = self.cursor.positions
        if key_states.requires_grad or value_states.requires_grad:
            key_states, value_states = key_states.detach(), value_states.detach()
        torch_npu.scatter_update_(self.keys, positions, key_states, 1)
        torch_npu.scatter_update_(self.values, positions, value_states, 1)
        self.cursor.wrote(self.index, steps)
        return self.keys, self.values

    def _first_position(self, steps: int) -> int:
        """Where the next `steps` tokens begin. ValueError where this layer lacks some of the tokens before them."""
        start = self.cursor.check_room(steps)
        held = max(self.length, self.cursor.vouched)
        if held < start:
            raise ValueError(
                f"layer {self.index} holds {held} of the {start} tokens in this KV cache: it did not run in every step "
                "before. Begin with an empty cache"
            )
        return start

    def _check_states(self, *given: torch.Tensor) -> None:
        for states, held in zip(given, (self.keys.shape, self.values.shape), strict=True):
            batch, _, heads, head_dim = states.shape
            if batch != held[0] or heads != held[2] or head_dim != held[3]:
                raise ValueError(
                    f"this cache holds (B, S, N, D) states with B={held[0]}, N={held[2]}, D={held[3]}, "
                    f"not {tuple(states.shape)}"
                )

    def resize(self, slots: int) -> None:
        """Reallocate to `slots` slots, keeping what is written."""
        present = self.slots()
        if not self.is_initialized or slots <= present:
            return
        with lasting():
            for name in ("keys", "values"):
                old = getattr(self, name)
                new = _memory_of(old, slots, present)
                new[:, :present] = old
                setattr(self, name, new)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.cursor.capacity(query_length), 0

    def get_seq_length(self) -> int | torch.Tensor:
        if torch.compiler.is_compiling():
            return self.cursor.seen_on_device()
        return self.cursor.seen() + (self.cursor.pending if self.index in self.cursor.written else 0)

    def get_max_length(self) -> int:
        return self.cursor.slots if self.cursor.fixed else -1

    def reset(self) -> None:
        self.length = 0
        if self.is_initialized:  # zeros, as a stale inf or nan times a weight of 0 would not be 0
            self.keys.zero_()
            self.values.zero_()

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        if not self.is_initialized:
            return
        for states in (self.keys, self.values):  # in place: the addresses stay
            written = states[:, : self.get_seq_length()]
            written.copy_(written.index_select(0, beam_idx.to(states.device)))

    def select_batch(self, indices: torch.Tensor) -> None:
        if self.is_initialized:
            with lasting():
                self.keys = self.keys.index_select(0, indices.to(self.keys.device))
                self.values = self.values.index_select(0, indices.to(self.values.device))
            self.batch_size = self.keys.shape[0]


def _memory_of(states: torch.Tensor, slots: int, written: int) -> torch.Tensor:
    """(B, slots, N_kv, D) for states (B, S, N_kv, D): zeros, but for the first `written` slots, which are written next.

    On a CPU each head's positions lie together: attention reads one head after the other there.
    """
    batch, _, heads, head_dim = states.shape
    if states.is_cpu and not torch.compiler.is_compiling():
        memory = states.new_empty((batch, heads, slots, head_dim)).transpose(1, 2)
    else:
        memory = states.new_empty((batch, slots, heads, head_dim))
    if written < slots:
        memory[:, written:].zero_()
    return memory


class StaticKVCache(Cache):
    """The KV cache of a port.

    `max_cache_len` slots per sequence, fixed: one token more is CacheFull. None makes it elastic: it grows by
    reallocation, in eager only. `config.layer_types` tells which layers hold attention; a layer that keeps another kind
    of state (linear attention, convolution) is a ValueError.

    `get_seq_length()` is the tokens of all finished steps, and those of the step under way once the layer has written
    them: an int in eager, a 0-d device tensor while compiling.
    """

    def __init__(self, config: Any, max_cache_len: int | None = None) -> None:
        layer_types, options = layer_types_and_options(config.get_text_config(decoder=True))
        foreign = sorted({kind for kind in layer_types if kind not in (*_KV_LAYERS, "dummy")})
        if foreign:
            raise ValueError(f"StaticKVCache holds keys and values; this model has {', '.join(foreign)} layers")
        self.cursor = Cursor(max_cache_len)
        super().__init__(
            layers=[
                empty_layer() if kind == "dummy" else StaticKVLayer(self.cursor, index, of_kind.get("sliding_window"))
                for index, (kind, of_kind) in enumerate(zip(layer_types, options, strict=True))
            ]
        )

    @property
    def max_cache_len(self) -> int | None:
        """Slots per sequence; None for an elastic cache."""
        return self.cursor.slots if self.cursor.fixed else None

    @property
    def nbytes(self) -> int:
        """Bytes of all keys and values on this rank."""
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in self._kv_layers() if layer.is_initialized)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the states (B, S, N_kv, D) of one layer; ValueError for one that the configuration does not count."""
        if not 0 <= layer_idx < len(self.layers):
            raise ValueError(
                f"layer_idx {layer_idx} writes to a KV cache of {len(self.layers)} layers: let "
                "config.num_hidden_layers (and config.layer_types) count the layers there are, and number their "
                "layer_idx from 0"
            )
        return super().update(key_states, value_states, layer_idx, *args, **kwargs)

    def _kv_layers(self) -> list[StaticKVLayer]:
        return [layer for layer in self.layers if isinstance(layer, StaticKVLayer)]

    def counts_elsewhere(self) -> bool:
        """Whether tokens are held, but not by the first layer: of it a source asks how many there are."""
        return self.cursor.positions is not None and not self._kv_layers()[0].is_initialized

    def _allocated(self) -> int:
        """Slots that every layer has which holds states."""
        return min((layer.slots() for layer in self._kv_layers() if layer.is_initialized), default=0)

    def early_initialization(
        self, batch_size: int, num_heads: int, head_dim: int, dtype: torch.dtype, device: torch.device | str
    ) -> None:
        """Allocate now, for `num_heads` KV heads on this rank: before a prefill that is itself compiled."""
        none = torch.zeros((batch_size, 0, num_heads, head_dim), dtype=dtype, device=device)  # (B, 0, N, D)
        for layer in self._kv_layers():
            if not layer.is_initialized:
                layer.lazy_initialization(none, none)

    def reserve(self, steps: int) -> int:
        """Call before each compiled step of `steps` tokens; returns the position it starts at. Reads no device memory.

        Raises CacheFull, and counts nothing, where the step does not fit. A step that runs in eager checks by itself.
        """
        self.cursor.settle()
        return self.cursor.reserve(steps)

    def set_length(self, length: int) -> None:
        """Make `length` the number of tokens in the cache, e.g. to rewind to a shared prompt. No states are moved."""
        self.cursor.settle()
        if not 0 <= length <= self._allocated():
            raise ValueError(f"length {length} is not one of this cache's: it has {self._allocated()} slots allocated")
        self.cursor.move(length)

    def grow_to(self, slots: int) -> None:
        """Have at least `slots` slots, keeping what is written (reallocates, eager only)."""
        self.cursor.slots, self.cursor.sized = max(self.cursor.slots, slots), True
        for layer in self._kv_layers():
            layer.resize(self.cursor.slots)

    def crop(self, asked: int) -> None:
        """Forget the last `-asked` tokens, or what the installed transformers means by a number above 0."""
        self.cursor.settle()
        removed = tokens_to_remove(asked, self.cursor.seen())
        if removed:
            self.set_length(max(self.cursor.seen() - removed, 0))

    def reset(self) -> None:
        """Forget everything; the memory stays allocated."""
        super().reset()
        self.cursor.move(0)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Each sequence `repeats` times, neighbours."""
        positions = self.cursor.positions
        if positions is not None:
            rows = torch.arange(positions.shape[0], device=positions.device)
            self.batch_select_indices(rows.repeat_interleave(repeats))

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep the sequences at `indices` (B',) int64, or where a (B,) bool mask is True."""
        if indices.dtype == torch.bool:
            indices = indices.nonzero().flatten()
        for layer in self._kv_layers():
            layer.select_batch(indices)
        if self.cursor.positions is not None:
            with lasting():
                self.cursor.positions = self.cursor.positions.index_select(0, indices.to(self.cursor.positions.device))


def check_kv_cache(past_key_values: Any) -> StaticKVCache | None:
    """The cache itself if a port can write it, None for none, else TypeError."""
    if past_key_values is None or isinstance(past_key_values, StaticKVCache):
        return past_key_values
    raise TypeError(
        f"{GENERATED} is a {type(past_key_values).__name__}; this model keeps (B, S, N, D) states written in "
        "place: pass porter.runtime.StaticKVCache(config, max_cache_len=...), or none and one is made"
    )

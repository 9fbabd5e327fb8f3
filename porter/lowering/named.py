"""What a compiled step of a port reads and writes, by name: the same where it is lowered and where it is executed.

Contract: a batch of two prompts, one of them padded on the left, in a static cache that holds all steps; the mask
covers all slots from the start, and positions are given, as the runner has it. Weights and buffers are called
`model.NAME`, what the cache holds `cache.PATH`, what the caller passes `input.NAME`. Needs torch and transformers, not
torch_npu.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch

from porter.runtime import StaticKVCache, position_ids_from_mask, tabulate_rotary
from porter.runtime.cache_name import cache_name

BATCH, PROMPT, PADDING, STEPS = 2, 12, 3, 32
SLOTS = PROMPT + STEPS + 4


def prompt(vocabulary: int) -> torch.Tensor:
    """Token ids (BATCH, PROMPT) without the special ones; the first PADDING of row 0 are padding."""
    ids = torch.randint(3, vocabulary, (BATCH, PROMPT), generator=torch.Generator().manual_seed(0))
    ids[0, :PADDING] = 0
    return ids


def mask_to(length: int) -> torch.Tensor:
    """(BATCH, length) int64, 0 = padding."""
    mask = torch.ones(BATCH, length, dtype=torch.int64)
    mask[0, :PADDING] = 0
    return mask


def arguments(model: Any, ids: torch.Tensor, start: int, cache: Any, mask: torch.Tensor) -> dict[str, Any]:
    """What `model.forward` is called with, as far as it takes it, for ids (B, S) at place `start`; mask (B, all)."""
    given = {
        "input_ids": ids,
        "attention_mask": mask,
        "position_ids": position_ids_from_mask(mask)[:, start : start + ids.shape[1]],
        cache_name(model): cache,
        "use_cache": True,
    }
    takes = inspect.signature(model.forward).parameters
    return {name: value for name, value in given.items() if name in takes}


@dataclass(frozen=True)
class Held:
    """A port and its static cache, with memory for SLOTS tokens and none in it."""

    model: Any
    cache: StaticKVCache

    def step(self, ids: torch.Tensor, start: int) -> dict[str, Any]:
        """The arguments of one compiled step, for which the cache has room then."""
        self.cache.reserve(ids.shape[1])
        return arguments(self.model, ids, start, self.cache, mask_to(SLOTS))

    def tensors(self, given: dict[str, Any]) -> dict[str, torch.Tensor]:
        """All that a step could read, beside its arguments `given`."""
        named = {f"model.{name}": tensor for name, tensor in self.model.named_parameters()}
        named |= {f"model.{name}": tensor for name, tensor in self.model.named_buffers()}
        named |= {f"input.{name}": value for name, value in given.items() if isinstance(value, torch.Tensor)}
        return named | dict(_within(self.cache, "cache", set()))


def held(model: Any) -> Held:
    """The port with a cache that has its memory, as the states of one eager step want it, and rotary tables."""
    cache = StaticKVCache(model.config, SLOTS)
    vocabulary = model.config.get_text_config(decoder=True).vocab_size
    model(**arguments(model, prompt(vocabulary), 0, cache, mask_to(SLOTS)))
    cache.reset()
    tabulate_rotary(model, SLOTS)
    return Held(model, cache)


def _within(value: Any, name: str, seen: set[int]) -> Any:
    """(path, tensor) of all tensors that an object of the cache leads to."""
    if isinstance(value, torch.Tensor):
        yield name, value
    elif id(value) not in seen:
        seen.add(id(value))
        if isinstance(value, (list, tuple)):
            inner = {str(index): item for index, item in enumerate(value)}
        else:
            inner = vars(value) if type(value).__module__.startswith("porter.") else {}
        for key, item in inner.items():
            yield from _within(item, f"{name}.{key}", seen)

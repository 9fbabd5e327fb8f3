"""One KV cache for all prompts and answers of a runner's settings: allocated once a batch size, then emptied."""

from __future__ import annotations

from typing import Any

import torch

from porter.runner.room import check_memory
from porter.runner.settings import Settings
from porter.runtime import StaticKVCache, tabulate_rotary


class KeptCache:
    """`cache` is the one in use, of `slots` tokens a row; None before the first batch, and after a failure."""

    def __init__(self) -> None:
        self.cache: StaticKVCache | None = None
        self.batch = self.slots = 0

    def check(self, config: Any, settings: Settings, batch: int, device: torch.device) -> None:
        """CannotRun where another one has to be made, and there is no memory for it."""
        if not self._fits(batch, settings):
            dtype = settings.dtype or getattr(config, "dtype", None) or torch.float32
            check_memory(config, settings, batch, dtype.itemsize, device)

    def emptied(self, model: Any, settings: Settings, batch: int, device: torch.device) -> StaticKVCache:
        """The cache for a batch, without tokens."""
        if self.cache is None or not self._fits(batch, settings):
            self.cache = None  # the old one is free before the new one is made
            self.batch, self.slots = batch, _slots(settings)
            self.cache = StaticKVCache(model.config, max_cache_len=self.slots)
            if device.type == "cpu":
                tabulate_rotary(model, self.slots, promised=False)  # nobody keeps users from compiling the model
        self.cache.reset()
        return self.cache

    def _fits(self, batch: int, settings: Settings) -> bool:
        return self.cache is not None and self.batch == batch and self.slots >= _slots(settings)


def _slots(settings: Settings) -> int:
    return settings.input_max_len + settings.max_new_tokens

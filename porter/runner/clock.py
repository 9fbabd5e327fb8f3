"""When each step's logits were there: a logits processor that changes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from transformers import LogitsProcessor


def wait_for(device: torch.device) -> None:
    """Until the device has done what it was given; the CPU has."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


class StepClock(LogitsProcessor):
    """Notes the time of every step; on a device it waits for the step to finish. `now` gives seconds."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.now = now
        self.started = now()
        self.steps: list[float] = []

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        wait_for(scores.device)
        self.steps.append(self.now())
        return scores

    @property
    def prefill_ms(self) -> float:
        return 1000.0 * (self.steps[0] - self.started) if self.steps else 0.0

    @property
    def ms_per_token(self) -> float | None:
        following = len(self.steps) - 1
        return 1000.0 * (self.steps[-1] - self.steps[0]) / following if following > 0 else None

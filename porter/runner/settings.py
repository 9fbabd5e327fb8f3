"""What a runner is told, in the words users of the hand ports know."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from porter.diagnostics import nearest
from porter.runner.backends import Backend

_GENERATION = ("do_sample", "temperature", "top_k", "top_p", "repetition_penalty", "eos_token_id")


@dataclass(frozen=True)
class Settings:
    """dtype:          of weights and cache; None is the checkpoint's own.
    device:         `npu`, `cuda` or `cpu`; None is the first of them that is there (under a launcher never `cuda`).
    input_padding:  pad every batch to `input_max_len`, so that all prompts have one shape; else to its longest.
    input_max_len:  tokens a prompt may have; max_new_tokens: tokens at most to answer with.
    do_sample, temperature, top_k, top_p, repetition_penalty, eos_token_id (one or several), stop_strings: as in
                    transformers; None is the checkpoint's generation config.
    seed:           with one, sampling repeats.
    stream:         print the answers as they come, on rank 0.
    warm_up:        generate two tokens before the answers, so that their times are not of first calls; None does so in
                    dynamo mode, where a first call of a shape compiles.
    backend:        what compiles in dynamo mode: `max-autotune` or `npugraph_ex` on an NPU, elsewhere `inductor`,
                    `aot_eager`, `eager`, or a dynamo backend; None is the first that can serve the device.
    cache_folder:   where TorchAir keeps compiled graphs for the next process; None keeps none.
    adapter:        folder of a PEFT adapter, merged into the weights when they are loaded; None is none.
    models:         folder of the registry; None is `generated_models` of the current folder, if it holds one, else the
                    one beside porter.
    edited:         execute a port whose files were changed after porter wrote them.
    trust_remote_code: run a port that was made from code out of a folder and not of an installed package. Where that
                    was consented to when converting it needs not be said. A checkpoint's own code is never run.
    """

    dtype: torch.dtype | None = None
    device: str | None = None
    input_padding: bool = False
    input_max_len: int = 1024
    max_new_tokens: int = 1024
    do_sample: bool | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float | None = None
    eos_token_id: int | Sequence[int] | None = None
    stop_strings: str | Sequence[str] | None = None
    seed: int | None = None
    stream: bool = False
    warm_up: bool | None = None
    backend: Backend | None = None
    cache_folder: Path | None = None
    adapter: str | Path | None = None
    models: Path | None = None
    edited: bool = False
    trust_remote_code: bool = False

    def updated(self, **config: Any) -> Settings:
        """With other values. Raises TypeError for a name there is not, ValueError for a length below 1."""
        names = [item.name for item in fields(self)]
        for name in config:
            if name not in names:
                close = nearest(name, names)
                hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(names)}"
                raise TypeError(f"no setting {name!r}: {hint}")
        changed = replace(self, **config)
        for name in ("input_max_len", "max_new_tokens"):
            if getattr(changed, name) < 1:
                raise ValueError(f"{name} is a number of tokens, at least 1, not {getattr(changed, name)}")
        return changed

    def generation(self) -> dict[str, Any]:
        """What transformers' `generate()` is told; stop strings are the runner's own criterion."""
        asked = {name: getattr(self, name) for name in _GENERATION}
        return {name: value for name, value in asked.items() if value is not None}


def from_environment() -> tuple[str, Settings]:
    """The execute mode and settings that old scripts give by EXE_MODE and INPUT_PADDING; only defaults."""
    padding = os.environ.get("INPUT_PADDING", "").strip().lower() in ("1", "true", "yes", "on")
    return os.environ.get("EXE_MODE", "eager"), Settings(input_padding=padding)

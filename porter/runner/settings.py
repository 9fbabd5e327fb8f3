"""What a runner is told, in the words users of the hand ports know."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from porter.nearest import nearest


@dataclass(frozen=True)
class Settings:
    """dtype:          of weights and cache; None is the checkpoint's own.
    device:         `npu`, `cpu`, ...; None is an NPU where there is one, else the CPU.
    input_padding:  pad every batch to `input_max_len`, so that all prompts have one shape; else to its longest.
    input_max_len:  tokens a prompt may have; max_new_tokens: tokens at most to answer with.
    do_sample, temperature, top_k, top_p, seed: as in transformers; None is the checkpoint's generation config. With a
                    seed, sampling repeats.
    warm_up:        generate two tokens once before the first answers, so that the times are not of first calls.
    models:         folder of the registry; None is `generated_models` beside porter.
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
    seed: int | None = None
    warm_up: bool = False
    models: Path | None = None

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


def from_environment() -> tuple[str, Settings]:
    """The execute mode and settings that old scripts give by EXE_MODE and INPUT_PADDING; only defaults."""
    padding = os.environ.get("INPUT_PADDING", "").strip().lower() in ("1", "true", "yes", "on")
    return os.environ.get("EXE_MODE", "eager"), Settings(input_padding=padding)


def choose_device(wanted: str | None) -> torch.device:
    """The device to run on. CUDA only by choice: the ops of a port have no kernels there."""
    if wanted is not None:
        return torch.device(wanted)
    npu = getattr(torch, "npu", None)  # there once torch_npu is imported
    return torch.device("npu" if npu is not None and npu.is_available() else "cpu")

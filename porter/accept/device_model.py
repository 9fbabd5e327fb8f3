"""A model on the device that is asked from the host: its inputs are carried there, its answers back.

Contract: it is called as the model itself is, by `verify`'s checks and by `generate()`. Caches stay where they are. In
a rehearsal its ops go to the stand-ins.
"""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path
from typing import Any

import torch
from torch.utils._pytree import tree_map

from porter.accept.sides import Sides
from porter.verify.pair import load


def ask_from_host(model: Any, sides: Sides) -> Any:
    """`model`, moved to the device."""
    inner = model.to(sides.device).forward

    @functools.wraps(inner)
    def forward(*args: Any, **kwargs: Any) -> Any:
        there = functools.partial(_moved, device=sides.device)
        with rehearsed(sides):
            output = inner(*map(there, args), **{name: there(value) for name, value in kwargs.items()})
        for name in ("logits", "hidden_states", "loss"):
            value = getattr(output, name, None)
            if value is not None:
                output[name] = tree_map(functools.partial(_moved, device=torch.device("cpu")), value)
        return output

    model.forward = forward
    return model


def rehearsed(sides: Sides) -> Any:
    """Within the block the model's ops are the device's, or what stands in for them."""
    return sides.intercepted() if sides.stand_ins else contextlib.nullcontext()


def on_device(model_class: Any, sides: Sides) -> Any:
    """A port on the device as `verify` loads one: `load(kind, folder)` gives a model that is asked from the host."""

    def from_pretrained(folder: Path, **options: Any) -> Any:
        return ask_from_host(model_class.from_pretrained(folder, **options), sides)

    return type("OnDevice", (), {"from_pretrained": staticmethod(from_pretrained)})


def load_on_device(model_class: Any, folder: Path, sides: Sides, dtype: torch.dtype) -> Any:
    return load(on_device(model_class, sides), folder, dtype)


def _moved(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, torch.Tensor) else value

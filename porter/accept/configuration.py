"""The sizes that ops are asked at: a configuration that is named, else one that comes with porter, else a small one.

Contract: which it was is part of what is said of the run. A configuration that says in which dtype its weights are is
asked in that one, any other in both 16-bit dtypes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from porter.diagnostics import Refused
from porter.lowering.steps import configuration
from porter.verify.contract import read_configuration, shipped_configs

_LAYERS = 2
_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Sizes:
    """`name`: in words, where they are from."""

    name: str
    config: Any
    dtypes: tuple[torch.dtype, ...]


def sizes_of(config_class: Any, given: str | None) -> Sizes | Refused:
    """`given`: a file, or the name of a configuration that comes with porter. P116 where it cannot be taken."""
    if given is not None:
        return _read(shipped_configs().get(given, Path(given)), given, config_class)
    for name, path in shipped_configs().items():
        if json.loads(path.read_text(encoding="utf-8")).get("model_type") == config_class.model_type:
            return _read(path, f"{name}, which comes with porter", config_class)
    return small(config_class)


def small(config_class: Any) -> Sizes:
    """Two layers of realistic widths and head_dim."""
    return Sizes("a small one, two layers of 512", configuration(config_class, _LAYERS), tuple(_DTYPES.values()))


def _read(path: Path, name: str, config_class: Any) -> Sizes | Refused:
    read = read_configuration(path, config_class)
    if isinstance(read, Refused):
        return read
    config, data = read
    said = data.get("dtype") or data.get("torch_dtype")
    dtypes = (_DTYPES[said],) if said in _DTYPES else tuple(_DTYPES.values())
    return Sizes(name, config, dtypes)

"""Ways to change a checkpoint folder: its configuration, its tensors, one of its files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

Change = Callable[[Path], object]
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4cac19622f\nsize 4938985352\n"
INDEX = "model.safetensors.index.json"


def entries(file: str, **values) -> Change:
    """Entries of a JSON file replaced."""

    def change(folder: Path) -> None:
        place = folder / file
        place.write_text(json.dumps({**json.loads(place.read_text()), **values}))

    return change


def config(**values) -> Change:
    return entries("config.json", **values)


def text(file: str, content: str) -> Change:
    return lambda folder: (folder / file).write_text(content)


def data(file: str, content: object) -> Change:
    return text(file, json.dumps(content))


def shard(change: Callable[[bytes], bytes]) -> Change:
    """The bytes of one shard replaced."""

    def spoil(folder: Path) -> None:
        place = sorted(folder.glob("model-*.safetensors"))[2]
        place.write_bytes(change(place.read_bytes()))

    return spoil


def take_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a folder of shards, whose files are removed."""
    tensors = {}
    for file in sorted(folder.glob("model-*.safetensors")):
        tensors.update(load_file(file))
        file.unlink()
    (folder / INDEX).unlink()
    return tensors


def tensors(change: Callable[[dict], dict], file: str = "model.safetensors") -> Change:
    """Other tensors, in one file: `.safetensors`, or `.bin` by torch."""

    def rewrite(folder: Path) -> None:
        made = {name: tensor.contiguous() for name, tensor in change(take_tensors(folder)).items()}
        if file.endswith(".bin"):
            torch.save(made, folder / file)
        else:
            save_file(made, folder / file, metadata={"format": "pt"})

    return rewrite


def without(*parts: str) -> Callable[[dict], dict]:
    return lambda held: {name: tensor for name, tensor in held.items() if not any(part in name for part in parts)}


def with_added(**added: torch.Tensor) -> Callable[[dict], dict]:
    """Names with `__` for the dots."""
    return lambda held: {**held, **{name.replace("__", "."): tensor for name, tensor in added.items()}}


def cast(part: str, dtype: torch.dtype, mark: str = "") -> Callable[[dict], dict]:
    """Tensors with `part` in their names in another dtype; each with a scale beside it that ends in `mark`."""

    def change(held: dict) -> dict:
        made = dict(held)
        for name, tensor in held.items():
            if part in name:
                made[name] = (tensor * 10).to(dtype)
                if mark:
                    made[name.removesuffix("weight") + mark] = torch.ones(tensor.shape[0], 1)
        return made

    return change

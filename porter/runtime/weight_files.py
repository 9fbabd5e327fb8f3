"""The files of a checkpoint folder that hold its weights: those transformers would load, in its order of preference.

Contract: of an index only its own text is believed: shards that are not there, or lie outside the folder, are
DamagedFile, as is one whose names are not in the shards.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from porter.runtime.headers import DamagedFile, Stored, check_content, read_header

NAMES = ("model.safetensors", "pytorch_model.bin")
_INDEX = ".index.json"


class MissingShards(DamagedFile):
    """A folder without some of the files that its index lists."""


@dataclass(frozen=True)
class WeightFiles:
    """The weights of a folder. `indexed`: tensor -> name of its file, where an index says so."""

    files: tuple[Path, ...]
    index: Path | None = None
    indexed: Mapping[str, str] | None = None

    def stored(self) -> dict[str, Stored]:
        """The tensors by their headers; none of `.bin` files. Raises DamagedFile for files that are not whole."""
        headers = {file.name: read_header(file) for file in self.files if file.suffix == ".safetensors"}
        for file in self.files:
            check_content(file)
        if headers and self.index is not None and self.indexed is not None:
            lost = sorted(name for name, shard in self.indexed.items() if name not in headers[Path(shard).name])
            if lost:
                more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
                raise DamagedFile(self.index, f"names `{lost[0]}`{more}, which `{self.indexed[lost[0]]}` does not hold")
        return {name: stored for header in headers.values() for name, stored in header.items()}


def find_weights(folder: Path, named: Any = None) -> WeightFiles | None:
    """The weights of `folder`, None where it has none. `named`: the file that `transformers_weights` of its
    configuration names. Raises DamagedFile for an index that cannot be followed.
    """
    explicit = (named,) if isinstance(named, str) else ()
    for name in explicit or [kind for weights in NAMES for kind in (weights, weights + _INDEX)]:
        file = folder / name
        if file.is_file():
            return _follow(file) if name.endswith(_INDEX) else WeightFiles((file,))
    return None


def _follow(index: Path) -> WeightFiles:
    check_content(index)
    try:
        read = json.loads(index.read_bytes())
        indexed, _ = read["weight_map"], read["metadata"].items()
        shards = sorted(set(indexed.values()))
        within = all(isinstance(shard, str) and shard == Path(shard).name for shard in shards)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DamagedFile(index, "is not an index of shards") from None
    if not shards or not within:
        raise DamagedFile(index, "names no shards" if not shards else "names files outside its folder")
    missing = [shard for shard in shards if not (index.parent / shard).is_file()]
    if missing:
        listed = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        fault = f"lacks {len(missing)} of {len(shards)} shards: {listed}"
        raise MissingShards(index.parent, fault, "download the missing files")
    return WeightFiles(tuple(index.parent / shard for shard in shards), index, indexed)

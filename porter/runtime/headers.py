"""What the files of a checkpoint say of themselves before a weight is read: names, dtypes and shapes of tensors.

Contract: reads the first bytes of a file, and of `.safetensors` the header; nothing is unpickled. A file that cannot be
what its name says is DamagedFile, which names it and what to do.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# bits of an element, by the names that safetensors writes
_BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}
_POINTER = b"version https://git-lfs"
_LARGEST_HEADER = 100_000_000  # what safetensors itself takes


class DamagedFile(ValueError):
    """A file of a checkpoint is not whole; `help` is what to do."""

    def __init__(self, file: Path, fault: str, help: str = "download that file again") -> None:
        self.fault, self.help = f"`{file}` {fault}", help
        super().__init__(f"{self.fault}; {help}")


@dataclass(frozen=True)
class Stored:
    """A tensor in a file: its dtype as safetensors names it, and its shape."""

    dtype: str
    shape: tuple[int, ...]


def check_content(file: Path) -> None:
    """Raises DamagedFile for a file that is empty, cannot be read, or only points to where the content is."""
    try:
        with open(file, "rb") as opened:
            start = opened.read(len(_POINTER))
    except OSError as error:
        raise DamagedFile(file, f"cannot be read: {error.strerror or error}") from None
    if not start:
        raise DamagedFile(file, "is empty")
    if start == _POINTER:
        raise DamagedFile(file, "is a git-lfs pointer, not the file itself", "run `git lfs pull` in its folder")


def read_header(file: Path) -> dict[str, Stored]:
    """The tensors of a `.safetensors` file by name. Raises DamagedFile where header and size contradict each other."""
    check_content(file)
    size = file.stat().st_size
    with open(file, "rb") as opened:
        first = opened.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else size
        if length > min(size - 8, _LARGEST_HEADER):
            raise DamagedFile(file, f"is no safetensors file, or cut off: it has {size} bytes")
        text = opened.read(length)
    try:
        header = json.loads(text)
        header.pop("__metadata__", None)
        tensors = {name: _stored(entry) for name, entry in header.items()}
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        raise DamagedFile(file, "has a header that is none of safetensors") from None
    if 8 + length + end != size:
        raise DamagedFile(file, f"has {size} bytes, by its header it has {8 + length + end}")
    return tensors


def _stored(entry: dict[str, Any]) -> Stored:
    """One entry of a header. Raises ValueError, KeyError or TypeError for what is none."""
    dtype, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    sizes = [*shape, start, end]
    if not isinstance(dtype, str) or any(type(number) is not int or number < 0 for number in sizes):
        raise ValueError("not a tensor")
    if dtype in _BITS and math.prod(shape) * _BITS[dtype] != 8 * (end - start):
        raise ValueError("not as many bytes as elements")
    return Stored(dtype, tuple(shape))

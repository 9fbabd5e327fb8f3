"""GE's data types as torch has them: by the names of descriptions, and by the numbers of attributes, counted apart."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import torch

NAMED = {
    "DT_FLOAT": torch.float32,
    "DT_FLOAT16": torch.float16,
    "DT_BF16": torch.bfloat16,
    "DT_DOUBLE": torch.float64,
    "DT_INT8": torch.int8,
    "DT_INT16": torch.int16,
    "DT_INT32": torch.int32,
    "DT_INT64": torch.int64,
    "DT_UINT8": torch.uint8,
    "DT_UINT16": torch.uint16,
    "DT_UINT32": torch.uint32,
    "DT_UINT64": torch.uint64,
    "DT_BOOL": torch.bool,
}
UNDEFINED = "DT_UNDEFINED"
_NUMBERED = {
    0: torch.float32,
    1: torch.float16,
    2: torch.int8,
    3: torch.int32,
    4: torch.uint8,
    6: torch.int16,
    7: torch.uint16,
    8: torch.uint32,
    9: torch.int64,
    10: torch.uint64,
    11: torch.float64,
    12: torch.bool,
    27: torch.bfloat16,
}


def numbered(number: int) -> torch.dtype:
    """The type that an attribute such as `dst_type` names. ValueError for one that nothing here computes with."""
    if number not in _NUMBERED:
        raise ValueError(f"data type {number} of GE is not computed with")
    return _NUMBERED[number]


def tensor_of(value: Mapping[str, Any]) -> torch.Tensor:
    """A constant: `dtype`, `shape` and `data`, its bytes in base64. ValueError for one that is not whole."""
    if value.get("dtype") not in NAMED or "data" not in value:
        raise ValueError("it has no value that is read here")
    data = bytearray(base64.b64decode(value["data"]))
    if not data:
        return torch.empty(value["shape"], dtype=NAMED[value["dtype"]])
    return torch.frombuffer(data, dtype=NAMED[value["dtype"]]).reshape(value["shape"])

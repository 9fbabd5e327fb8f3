"""GE's data types as torch has them: by the names of descriptions, and by the numbers of attributes, counted apart."""

from __future__ import annotations

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
    9: torch.int64,
    11: torch.float64,
    12: torch.bool,
    27: torch.bfloat16,
}


def numbered(number: int) -> torch.dtype:
    """The type that an attribute such as `dst_type` names. ValueError for one that nothing here computes with."""
    if number not in _NUMBERED:
        raise ValueError(f"data type {number} of GE is not computed with")
    return _NUMBERED[number]

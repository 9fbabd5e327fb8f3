"""One call of an op on the device, judged beside its kernel on the host, by the error rule of all proofs.

Contract: the truth is the host's kernel on the same values widened to float32, the widest that kernels take; where they
are float32 already it is the host's result itself, and the rule's floor for float32 is the limit. The device's result
may be as wrong as the host's, by the rule of `porter.verify.error_rule`. Integers, bools and shapes must be the same.
What the host leaves undefined (NaN) is not compared. `differing`: the share of elements that are not the host's to the
bit, which breaks no rule: another order of summing, or another place of rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.utils._pytree import tree_map

from porter.accept.probe import AGREES, DIFFERS, NOTED
from porter.accept.sides import Sides
from porter.npu import ContractError
from porter.verify.error_rule import Figures, Incomparable, compare, leaves


def judged(op: str, values: Mapping[str, Any], sides: Sides, positional: int = 0) -> dict[str, Any]:
    """An entry of the record: outcome, figures, detail, `ms`. The first `positional` arguments go without names."""
    try:
        host = sides.on_host(op, values, positional)
    except ContractError as error:  # another chip's limits are narrower
        told = forbidden(op, values, positional, sides)["detail"]
        return {"outcome": DIFFERS, "contract": str(error), "detail": f"the contract forbids this call; {told}"}
    try:
        device = sides.on_device(op, values, positional)
    except ContractError as error:
        return {"outcome": DIFFERS, "detail": f"refused, though the contract allows it: {error}"}
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        return {"outcome": DIFFERS, "detail": f"refused, though the contract allows it: {first_line(error)}"}
    found = beside(host, device, truth_of(op, values, sides, host, positional))
    return {**found, "ms": round(sides.milliseconds(op, values, positional), 4)}


def forbidden(op: str, values: Mapping[str, Any], positional: int, sides: Sides) -> dict[str, Any]:
    """What the device does with a call that the contract forbids: outcome and detail."""
    try:
        sides.on_device(op, values, positional)
    except RuntimeError as error:
        return {"outcome": AGREES, "detail": f"refused: {first_line(error)}"}
    return {"outcome": NOTED, "detail": "taken without an error"}


def beside(host: Any, device: Any, truth: Any) -> dict[str, Any]:
    """Outcome, figures and detail of a device's result beside the host's."""
    figures: dict[torch.dtype, Figures] = {}
    try:
        one, other, true = _defined(host, device, truth)
        faults = compare(one, other, true, figures)
    except Incomparable as error:
        named = str(error).replace("`before`", "the host").replace("`after`", "the device")
        return {"outcome": DIFFERS, "detail": named, "figures": {}}
    told = "; ".join(faults).replace("the source's", "the host's").replace("result['result']", "result")
    kept = {str(dtype).removeprefix("torch."): one.as_dict() for dtype, one in figures.items()}
    return {"outcome": DIFFERS if faults else AGREES, "detail": told, "figures": kept}


def is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "memory" in str(error).lower()


def first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]


def widened(value: Any) -> Any:
    """float32 of the same values; what is no tensor of floats stays."""
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        return value
    return torch.empty_strided(value.shape, value.stride(), dtype=torch.float32).copy_(value)


def truth_of(op: str, values: Mapping[str, Any], sides: Sides, host: Any, positional: int = 0) -> Any:
    """What the op would give without rounding; `host`: what it gives on the host."""
    wide = {name: tree_map(widened, value) for name, value in values.items()}
    try:
        return sides.on_host(op, wide, positional)
    except ContractError:  # it takes no float32
        return host


def _defined(host: Any, device: Any, truth: Any) -> list[dict[str, Any]]:
    """The three by place, without what the host leaves undefined; other places or shapes stay, and are a fault."""
    listed = [list(leaves(side)) for side in (host, device, truth)]
    sides: list[dict[str, Any]] = [{}, {}, {}]
    for index, (path, one) in enumerate(listed[0]):
        row: list[Any] = [side[index][1] if index < len(side) else None for side in listed]
        if isinstance(one, torch.Tensor) and not one.numel():
            continue  # the host gives nothing there
        if isinstance(one, torch.Tensor) and one.is_floating_point() and _alike(row):
            undefined = one.isnan()
            row = [value.masked_fill(undefined, 0.0) for value in row]
        for side, value in zip(sides, row, strict=True):
            side[path] = value
    return sides


def _alike(row: list[Any]) -> bool:
    return all(isinstance(value, torch.Tensor) and value.shape == row[0].shape for value in row)

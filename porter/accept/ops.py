"""An op's probe: every call that the port makes of it, and calls that its contract forbids.

Contract: an entry a call, said as soon as it is there. What does not fit, or has no values, is `not run` and says why;
an op that runs out of memory is `lost` there and goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch

import porter.npu
from porter.accept.calls import Call
from porter.accept.draws import NoDraw, draw
from porter.accept.forbidden import refusals
from porter.accept.judge import first_line, is_out_of_memory, judged
from porter.accept.probe import AGREES, LOST, NOT_RUN, NOTED, Say
from porter.accept.sides import Sides, overload


def probe_op(op: str, calls: Sequence[Call], sides: Sides, say: Say) -> None:
    """Say an entry for each call of `op`, one for its schema, and one for each call that is forbidden."""
    for call in calls:
        say({**_described(call), **_entry(call, sides)})
    schema = schema_entry(op)
    if schema is not None:
        say(schema)
    first = next((call for call in calls if not call.too_large), None)
    if first is None:
        return
    try:
        values = draw(first)
    except NoDraw:
        return
    for entry in refusals(op, values, first.positional, sides):
        say(entry)


def schema_entry(op: str) -> dict[str, Any] | None:
    """Whether the op takes what porter was written against; None of an op that is not porter's."""
    wanted = _schemas().get(op)
    if wanted is None:
        return None
    found = str(overload(op)._schema)
    same = found == wanted
    detail = "" if same else f"porter was written against `{wanted}`, here it is `{found}`"
    return {"call": "schema", "outcome": AGREES if same else NOTED, "detail": detail}


def _described(call: Call) -> dict[str, Any]:
    return {
        "call": call.situation.name,
        "arguments": str(call),
        "dtype": call.dtype,
        "configuration": call.of,
        **({"shrunk": call.shrunk} if call.shrunk else {}),
    }


def _entry(call: Call, sides: Sides) -> dict[str, Any]:
    if call.too_large:
        return {"outcome": NOT_RUN, "detail": call.too_large}
    try:
        return judged(call.op, draw(call), sides, call.positional)
    except NoDraw as error:
        return {"outcome": NOT_RUN, "detail": str(error)}
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return {"outcome": LOST, "detail": f"out of memory: {first_line(error)}"}


@cache
def _schemas() -> dict[str, str]:
    ops = (op for file in vars(porter.npu).values() for op in getattr(file, "OPS", ()))
    return {f"{op.namespace}::{op.name}": str(torch._C.parse_schema(f"{op.namespace}::{op.schema}")) for op in ops}

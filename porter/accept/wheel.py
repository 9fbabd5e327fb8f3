"""The port's calls asked of the real torch_npu where there is no device: its schemas, its shapes and dtypes, its graph.

Contract: the wheel is loaded beside a stand-in CANN in a process of its own (`porter.lowering`). It knows what an op
takes and what shapes and dtypes it gives, and converts the graph; it computes nothing without a device. Both sides get
meta tensors of the recorded sizes; strides are not kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from porter.accept.calls import Call, TensorOf
from porter.accept.probe import AGREES, DIFFERS, NOT_RUN, NOTED, Say
from porter.accept.sides import Sides, by_name, overload
from porter.accept.steps import GROWS
from porter.diagnostics import Refused
from porter.lowering.conformance import schemas
from porter.lowering.count import Unconverted
from porter.lowering.lower import lower
from porter.lowering.process import ask
from porter.runtime import NpuPreTrainedModel
from porter.verify.port import Port


def by_the_wheel(calls: Sequence[Call], sides: Sides, say: Say) -> None:
    """Say an entry for each op's schema and for each call; one alone where there is no wheel."""
    asked = [call for call in calls if call.op.startswith("npu::")]
    if not asked:
        say({"call": "every op", "outcome": NOT_RUN, "detail": "the port calls no op of torch_npu"})
        return
    ops = sorted({call.name for call in asked})
    job = {"ops": ops, "calls": [_plain(call) for call in asked], "directory": None}
    theirs = ask("conformance", job, lambda *step: None)
    if isinstance(theirs, Refused):
        say({"call": "every op", "outcome": NOT_RUN, "detail": theirs.diagnostics[0].message})
        return
    for name, wanted in schemas(ops).items():
        found = theirs["schemas"][name]
        detail = "" if found == wanted else f"porter's is `{wanted}`, torch_npu's is `{found}`"
        say({"call": f"{name}: schema", "outcome": NOTED if detail else AGREES, "detail": detail})
    for call, found in zip(asked, theirs["outputs"], strict=True):
        said = {"call": f"{call.name}: {call.situation.name}", "arguments": str(call), "dtype": call.dtype}
        say({**said, "configuration": call.of, **_judged(found, _own(call, sides))})


def graph_by_the_wheel(port: Port, say: Say) -> None:
    """Say whether TorchAir converts the port's prefill and decode, at the small sizes of `porter lower`."""
    if not issubclass(port.load_class(), NpuPreTrainedModel):
        say({"call": "graph", "outcome": NOT_RUN, "detail": GROWS})
        return
    found = lower(port.directory, edited=True, trust_remote_code=True)  # whoever opened the port has consented
    if isinstance(found, Refused):
        say({"call": "graph", "outcome": NOT_RUN, "detail": found.diagnostics[0].message})
        return
    for step in found.port:
        detail = f"{step.kernels} kernels a layer" if step.unconverted is None else _why(step.unconverted)
        say({"call": step.name, "outcome": AGREES if step.converts else DIFFERS, "detail": detail})


def _why(found: Unconverted) -> str:
    place = "" if found.place is None else f" ({found.place.line})"
    return ": ".join(filter(None, (found.op, found.reason))) + place


def _judged(theirs: dict[str, Any], ours: dict[str, Any]) -> dict[str, str]:
    if "raises" in theirs:
        return {"outcome": DIFFERS, "detail": f"torch_npu refuses it: {theirs['raises']}"}
    if theirs == ours:
        return {"outcome": AGREES, "detail": ""}
    return {"outcome": DIFFERS, "detail": f"torch_npu gives {_shown(theirs)}, porter's kernel {_shown(ours)}"}


def _shown(said: dict[str, Any]) -> str:
    return said.get("raises") or ", ".join(f"{dtype.removeprefix('torch.')}{shape}" for shape, dtype in said["tensors"])


def _own(call: Call, sides: Sides) -> dict[str, Any]:
    """What porter's kernel, or what stands in for it, gives for the same tensors."""
    right = overload(call.op)
    try:
        made = sides.call(right, (), by_name(right, (), {name: _meta(value) for name, value in call.arguments.items()}))
    except Exception as error:  # each op words its limits in its own way
        return {"raises": f"{type(error).__name__}: {error}"}
    made = made if isinstance(made, (tuple, list)) else [made]
    return {"tensors": [[list(tensor.shape), str(tensor.dtype)] for tensor in made]}


def _meta(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_meta(item) for item in value]
    return torch.empty(value.shape, dtype=value.dtype, device="meta") if isinstance(value, TensorOf) else value


def _plain(call: Call) -> dict[str, Any]:
    given = [(name, _said(value)) for name, value in call.arguments.items()]
    return {
        "op": call.name,
        "args": [value for _, value in given[: call.positional]],
        "options": dict(given[call.positional :]),
    }


def _said(value: Any) -> Any:
    """As `porter.lowering.conformance` reads it."""
    if isinstance(value, (list, tuple)):
        return [_said(item) for item in value]
    if isinstance(value, TensorOf):
        return {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
    return {"dtype": str(value).removeprefix("torch.")} if isinstance(value, torch.dtype) else value

"""What a process can say of the ops under `torch.ops.npu`, whoever registered them: porter or the real wheel.

Contract: the same questions are asked in both processes and the answers, plain data, are compared. Only what an op is
lowered to needs torchair, and is asked of the wheel's process alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch._dynamo.backends.common import aot_autograd

# op, args and options; a tensor is {"shape": [...], "dtype": "float16"}, zeros but for its "values"; or a list of
# these; a dtype alone is {"dtype": "float16"}
Call = dict[str, Any]


def schemas(ops: list[str]) -> dict[str, str]:
    """The schema of each op, as registered."""
    return {name: str(getattr(torch.ops.npu, name).default._schema) for name in ops}


def outputs(call: Call) -> dict[str, Any]:
    """Shape and dtype of what an op returns for meta tensors, or that it raises."""
    op = getattr(torch.ops.npu, call["op"]).default
    arguments = [_argument(value) for value in call["args"]]
    options = {name: _argument(value) for name, value in call["options"].items()}
    try:
        made = op(*arguments, **options)
    except Exception as error:  # each op words its limits in its own way
        return {"raises": f"{type(error).__name__}: {error}"}
    made = made if isinstance(made, (tuple, list)) else [made]
    return {"tensors": [[list(tensor.shape), str(tensor.dtype)] for tensor in made]}


def lowered(call: Call) -> dict[str, Any]:
    """GE nodes that TorchAir makes of an op alone, or why it stopped. Needs torchair."""
    from porter.lowering.record import Recorder

    op, recorder = _overload(call["op"]), Recorder()
    arguments = [_argument(value, "cpu") for value in call["args"]]
    options = {name: _argument(value, "cpu") for name, value in call["options"].items()}
    torch._dynamo.reset()
    step = torch.compile(lambda *given, **named: op(*given, **named), backend=recorder.backend(), fullgraph=True)
    try:
        with torch.no_grad(), recorder.recording():
            step(*arguments, **options)
    except Exception as error:  # a converter may raise anything
        return {"stopped": (recorder.unconverted or {"reason": f"{type(error).__name__}: {error}"})["reason"]}
    return {"nodes": [node["type"] for node in recorder.graphs[-1] if not node["folded"]]}


def _overload(name: str) -> Any:
    """Of an npu op its default; of another library's op that of `<namespace>.<op>.<overload>`."""
    namespace, name, overload = name.split(".") if "." in name else ("npu", name, "default")
    return getattr(getattr(getattr(torch.ops, namespace), name), overload)


def graphs(directory: Path) -> dict[str, list[str]]:
    """Node targets of a port's prefill and decode, as captured and once more with in-place ops made pure."""
    from porter.diagnostics import Refused
    from porter.lowering.steps import PHASES, Setting, run_compiled
    from porter.verify.port import open_port

    port = open_port(directory)
    assert not isinstance(port, Refused), port
    found: dict[str, list[str]] = {}
    for phase in PHASES:
        for name, wrap in (("captured", _as_it_is), ("functional", _functional)):
            targets: list[str] = []
            run_compiled(port.load_class(), Setting(), 1, phase, wrap(targets))
            found[f"{phase}, {name}"] = targets
    return found


def _as_it_is(targets: list[str]) -> Any:
    def backend(graph: Any, inputs: Any) -> Any:
        targets.extend(_target(node) for node in graph.graph.nodes)
        return graph.forward

    return backend


def _functional(targets: list[str]) -> Any:
    return aot_autograd(fw_compiler=_as_it_is(targets))


def _target(node: Any) -> str:
    if node.op in ("placeholder", "output"):
        return node.op
    target = node.target
    if isinstance(target, torch._ops.OpOverloadPacket):
        target = target.default  # torch_npu hands out packets, porter's stand-in their only overload: the same op
    if isinstance(target, str) or "." in str(target):
        return f"{node.op} {target}"
    return f"{node.op} {getattr(target, '__module__', '')}.{getattr(target, '__name__', target)}"


def _argument(value: Any, device: str = "meta") -> Any:
    if isinstance(value, list):
        return [_argument(item, device) for item in value]
    if isinstance(value, dict) and "shape" not in value:
        return getattr(torch, value["dtype"])
    if isinstance(value, dict):
        zeros = torch.zeros(value["shape"], dtype=getattr(torch, value["dtype"]), device=device)
        return zeros if "values" not in value else zeros + zeros.new_tensor(value["values"])
    return value

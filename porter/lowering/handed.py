"""The GE graph of a step as plain data, whole: all that it takes to execute it in a process without torch_npu.

Contract: runs in the worker's process. A node has its type, the names and descriptions of its inputs, its attributes
and its outputs as TorchAir's protobuf has them; nothing of the call it was made of but the lines that led to it. Inputs
are bound by the names of `named`: which tensor it was is seen when the step runs, by its memory.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import torch
from torchair._ge_concrete_graph.ge_ir_pb2 import DataType
from torchair.ge._ge_graph import torch_type_to_ge_proto_type

from porter.lowering.named import PROMPT, held, prompt
from porter.lowering.record import Recorder

Graph = dict[str, Any]


class CannotHand(RuntimeError):
    """A graph reads or returns what has no name outside."""


class Handing(Recorder):
    """Keeps the last graph with the tensors that it was called with and returned.

    checked: refuse nodes that do not say what their call says, as `Recorder` does.
    """

    def __init__(self, *, checked: bool = True) -> None:
        super().__init__()
        self._checked = checked
        self._concrete: Any = None
        self._given: tuple[Any, ...] = ()
        self._returned: tuple[Any, ...] = ()

    def compare(self, *call: Any) -> None:
        if self._checked:
            super().compare(*call)

    def finished(self, concrete: Any) -> None:
        super().finished(concrete)
        self._concrete = concrete
        concrete.save_fx_graph(self._watched(concrete.fx_graph))

    def _watched(self, run: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            self._given = given
            self._returned = tuple(run(*given))
            return self._returned

        return call

    def handed(self, named: dict[str, torch.Tensor], logits: torch.Tensor) -> Graph:
        """The graph that ran last, which read tensors of `named` and returned `logits`."""
        inputs, constants = self._inputs(named)
        return {
            "nodes": [{**_node(op), "frames": self.frames_of(op)} for op in self._concrete.graph.op],
            "inputs": inputs,
            "constants": constants,
            "assigned": sorted(map(list, self._concrete._graph_output_ref_input.items())),
            "logits": self._place_of(logits),
        }

    def _inputs(self, named: dict[str, torch.Tensor]) -> tuple[list[str], dict[str, Any]]:
        """By the `index` of the graph's Data nodes: names of the tensors; and values of those that only the port's code
        keeps, which are constants of its graphs."""
        names = {_memory(tensor): name for name, tensor in named.items()}
        found: list[str] = []
        constants: dict[str, Any] = {}
        for info in self._concrete._input_info_list:
            place = getattr(info.func, "fx_input_idx", None)
            tensor = None if place is None else self._given[place]
            if not isinstance(tensor, torch.Tensor):
                raise CannotHand(f"the graph takes {tuple(info.shape)} as an input, which is no tensor")
            if _memory(tensor) not in names:
                name = names[_memory(tensor)] = f"constant.{len(constants)}"
                constants[name] = _tensor(tensor)
            found.append(names[_memory(tensor)])
        return found, constants

    def _place_of(self, logits: torch.Tensor) -> int:
        """Which output of the graph the logits are."""
        for place, tensor in enumerate(self._returned):
            if isinstance(tensor, torch.Tensor) and _memory(tensor) == _memory(logits):
                return int(self._concrete._fx_outputs_mapping[place])
        raise CannotHand("the graph does not return the logits")


def hand_over(model: Any, phase: str, recorder: Handing) -> Graph:
    """The graph of one step of a port's model. Raises what capture or a converter raises."""
    torch._dynamo.reset()
    with torch.no_grad():
        there = held(model)
        ids = prompt(model.config.get_text_config(decoder=True).vocab_size)
        start = 0
        if phase == "decode":
            model(**there.step(ids, 0))
            start, ids = PROMPT, ids[:, :1]
        given = there.step(ids, start)
        named = there.tensors(given)
        step = torch.compile(model, backend=recorder.backend(), fullgraph=True, dynamic=False)
        with recorder.recording():
            output = step(**given)
        return recorder.handed(named, output.logits)


def _memory(tensor: torch.Tensor) -> tuple[Any, ...]:
    return tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype


def _tensor(tensor: torch.Tensor) -> dict[str, Any]:
    """As a constant of the graph has it."""
    data = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    dtype = DataType.Name(torch_type_to_ge_proto_type(tensor.dtype))
    return {"name": "", "dtype": dtype, "shape": list(tensor.shape), "data": base64.b64encode(data).decode()}


def _node(op: Any) -> dict[str, Any]:
    inputs = [name for name in op.input if not name.endswith(":-1")]
    described = list(op.input_desc)
    return {
        "name": op.name,
        "type": op.type,
        "after": [name.rpartition(":")[0] for name in op.input if name.endswith(":-1")],  # control edges
        "inputs": [[each.name, name] for each, name in zip(described, inputs, strict=False)],
        "attributes": {name: _value(value) for name, value in op.attr.items() if not name.startswith("_")},
        "outputs": [_output(op, each) for each in op.output_desc],
    }


def _described(tensor: Any) -> dict[str, Any]:
    return {"name": tensor.name, "dtype": DataType.Name(tensor.dtype), "shape": list(tensor.shape.dim)}


def _output(op: Any, tensor: Any) -> dict[str, Any]:
    """A node in the middle of a conversion declares no data type: what stands there is a default."""
    declares = op.type in ("Data", "Const", "ConstPlaceHolder") or "_meta" in tensor.attr
    return _described(tensor) if declares else {**_described(tensor), "dtype": "DT_UNDEFINED"}


def _value(attribute: Any) -> Any:
    kind = attribute.WhichOneof("value")
    if kind == "t":
        return {**_described(attribute.t.desc), "data": base64.b64encode(attribute.t.data).decode()}
    if kind == "list":
        filled = [field for field, _ in attribute.list.ListFields() if field.name != "val_type"]
        values = list(getattr(attribute.list, filled[0].name)) if filled else []
        return [value.decode() if isinstance(value, bytes) else value for value in values]
    if kind in ("s", "i", "f", "b", "dt"):
        value = getattr(attribute, kind)
        return value.decode() if isinstance(value, bytes) else value
    return {"kind": str(kind)}  # what no kernel takes

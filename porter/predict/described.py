"""The GE graph of one step as plain data: of each node what it costs hangs on.

Contract: runs in the worker's process. A node has its type, whether it is a kernel, its inputs by name, the shapes and
data types of its outputs where TorchAir says them, a few attributes, and, of a weight, its name in the model.
"""

from __future__ import annotations

from typing import Any

import torch

from porter.lowering.count import is_kernel

_ATTRIBUTES = ("adj_x1", "adj_x2", "transpose_x1", "transpose_x2", "input_layout", "num_heads", "num_key_value_heads")


def described(model: Any, recorder: Any, given: dict[str, Any]) -> list[dict[str, Any]]:
    """Compile and run one step of a model on the meta device; the nodes of its graph, in TorchAir's order."""
    watched = _Watched(recorder)
    step = torch.compile(model, backend=recorder.backend(), fullgraph=True, dynamic=False)
    with recorder.recording():
        step(**given)
    return watched.nodes(model)


class _Watched:
    """The last graph that a recorder saw, with the tensors it was called with."""

    def __init__(self, recorder: Any) -> None:
        self._recorder = recorder
        self._keep = recorder.finished
        self._concrete: Any = None
        self._given: tuple[Any, ...] = ()
        recorder.finished = self._finished

    def _finished(self, concrete: Any) -> None:
        self._keep(concrete)
        self._concrete = concrete
        run = concrete.fx_graph

        def call(*given: Any) -> Any:
            self._given = given
            return run(*given)

        concrete.save_fx_graph(call)

    def nodes(self, model: Any) -> list[dict[str, Any]]:
        names: dict[int | None, str] = {_storage(weight): name for name, weight in model.named_parameters()}
        found = []
        for op, known in zip(self._concrete.graph.op, self._recorder.graphs[-1], strict=True):
            inputs = [name for name in op.input if not name.endswith(":-1")]  # without control edges
            described = [each.name for each in op.input_desc]
            node = {
                "name": op.name,
                "type": op.type,
                "kernel": is_kernel(known),
                "inputs": [list(pair) for pair in zip(described, inputs, strict=False)],
                "outputs": [_tensor(op, each) for each in op.output_desc],
                "attributes": {name: _plain(op.attr[name]) for name in _ATTRIBUTES if name in op.attr},
            }
            if op.type == "Data":
                node["weight"] = names.get(self._memory(op.attr["index"].i), "")
            found.append(node)
        return found

    def _memory(self, index: int) -> int | None:
        place = getattr(self._concrete._input_info_list[index].func, "fx_input_idx", None)
        tensor = None if place is None else self._given[place]
        return _storage(tensor) if isinstance(tensor, torch.Tensor) else None


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata  # on the meta device there is no address


def _plain(attribute: Any) -> Any:
    value = getattr(attribute, attribute.WhichOneof("value"))
    return value.decode() if isinstance(value, bytes) else value


def _tensor(op: Any, tensor: Any) -> list[Any] | None:
    """[shape, data type]; None in the middle of a conversion, where TorchAir says neither."""
    if op.type in ("Data", "Const", "ConstPlaceHolder"):
        from torchair._ge_concrete_graph.ge_ir_pb2 import DataType

        return [list(tensor.shape.dim), DataType.Name(tensor.dtype)]
    if "_meta" not in tensor.attr:
        return None
    said = tensor.attr["_meta"].s.decode()  # Tensor(dtype=torch.float16, shape=torch.Size([4, 1024])
    _, has_shape, shape = said.partition("torch.Size([")
    _, has_dtype, dtype = said.partition("dtype=torch.")
    if not has_shape or not has_dtype:
        return None
    return [[int(size) for size in shape.partition("]")[0].split(",") if size.strip()], dtype.partition(",")[0]]

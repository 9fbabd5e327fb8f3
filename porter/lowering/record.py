"""A torch.compile backend that keeps what TorchAir made of each graph: its GE nodes and the code each came from.

Contract: runs in the worker's process. After conversion the FX graph runs on porter's CPU kernels, so that one call
lowers and computes. What does not convert raises through torch.compile, and so does an npu op whose nodes do not say
what its call says (`arrived`); `unconverted` then holds the FX node.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torchair
from torchair._ge_concrete_graph.fx2ge_converter import GeConcreteGraph
from torchair.configs.compiler_config import CompilerConfig

from porter.lowering import made
from porter.lowering.arrived import lost
from porter.npu.on_npu import graph_decompositions
from porter.runner.lengths import pass_lengths

_VIEWS = ("Reshape", "Unsqueeze", "Squeeze", "Identity")
_FRAME = re.compile(r'File "(?P<file>.+)", line (?P<line>\d+), in ')


class NotTheCall(RuntimeError):
    """TorchAir made nodes that compute something else than the op that was called."""


class Recorder:
    """Graphs in the order they were converted, as plain data, and as the text of their protobuf."""

    def __init__(self) -> None:
        self.graphs: list[list[dict[str, Any]]] = []
        self.texts: list[str] = []
        self.unconverted: dict[str, Any] | None = None
        self._origins: dict[str, Any] = {}  # GE node name -> FX node
        self._weights: set[str] = set()  # names of the inputs that are parameters

    def backend(self) -> Any:
        config = CompilerConfig()
        config.debug.run_eagerly = True
        config.post_grad_custom_pre_pass = pass_lengths
        return torchair.get_npu_backend(compiler_config=config, custom_decompositions=graph_decompositions())

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Watch conversion inside the `with` block."""
        node, inputs, finish = (
            GeConcreteGraph.parse_node,
            GeConcreteGraph.parse_input,
            GeConcreteGraph.optimize_graph_without_runtime,
        )

        def parse_node(graph: Any, target: Any, *args: Any) -> Any:
            before, origin = len(graph.graph.op), graph._converter_ctx.node
            try:
                result = node(graph, target, *args)
            except Exception as error:
                self.unconverted = {"op": str(target), "reason": _reason(error), "frames": _frames(origin)}
                raise
            for op in graph.graph.op[before:]:
                self._origins[op.name] = origin
            self.compare(target, args, graph.graph.op[before:], origin)
            return result

        def parse_input(graph: Any, target: Any, args: Any, kwargs: Any, meta: Any) -> Any:
            made = inputs(graph, target, args, kwargs, meta)
            if hasattr(meta, "_torchair_is_parameter"):
                self._weights.add(made.node.name)
            return made

        def optimize(graph: Any, *args: Any, **kwargs: Any) -> Any:
            made = finish(graph, *args, **kwargs)
            self.finished(graph)
            return made

        GeConcreteGraph.parse_node = parse_node
        GeConcreteGraph.parse_input = parse_input
        GeConcreteGraph.optimize_graph_without_runtime = optimize
        try:
            yield
        finally:
            GeConcreteGraph.parse_node = node
            GeConcreteGraph.parse_input = inputs
            GeConcreteGraph.optimize_graph_without_runtime = finish

    def finished(self, concrete: Any) -> None:
        """TorchAir is done with a graph of its own class: keep what was made."""
        self.graphs.append(self._described(concrete.graph))
        self.texts.append(str(concrete.graph))

    def frames_of(self, op: Any) -> list[list[Any]]:
        """[file, line] of the calls that led to a GE node, outermost first; none for what no call asked for."""
        origin = self._origins.get(op.name)
        return [] if origin is None else _frames(origin)

    def compare(self, target: Any, args: Any, ops: Any, origin: Any) -> None:
        """Raise where the nodes of an npu op do not say what its call says."""
        if not _is_npu_op(target):
            return
        passed, named, *_ = args
        fault = lost(made.arguments(target, passed, named), [made.node(op) for op in ops])
        if fault is not None:
            self.unconverted = {"op": "", "reason": f"{target}: {fault}", "frames": _frames(origin)}
            raise NotTheCall(self.unconverted["reason"])

    def _described(self, graph: Any) -> list[dict[str, Any]]:
        by_name = {op.name: op for op in graph.op}
        described = []
        for op in graph.op:
            origin = self._origins.get(op.name)
            described.append(
                {
                    "type": op.type,
                    "folded": self._turns_a_weight(op, by_name) or self._stands_for_no_argument(op, by_name),
                    "op": "" if origin is None else str(origin.target),
                    "frames": self.frames_of(op),
                }
            )
        return described

    def _stands_for_no_argument(self, op: Any, by_name: dict[str, Any]) -> bool:
        """Whether the converter of an npu op made a node of constants alone, as for the lists of tensors that
        npu_grouped_matmul is called without."""
        target = getattr(self._origins.get(op.name), "target", None)
        return _is_npu_op(target) and _of_constants(op, by_name)

    def _turns_a_weight(self, op: Any, by_name: dict[str, Any]) -> bool:
        """Whether a node turns nothing but a parameter: the engine does that once, when parameters are frozen."""
        if op.type != "Transpose":
            return False
        while op.type in ("Transpose", *_VIEWS) and op.input:
            op = by_name[op.input[0].rpartition(":")[0]]
        return op.name in self._weights


def _is_npu_op(target: Any) -> bool:
    """Of torch_npu, or one of TorchAir's own that takes tensors where torch_npu's takes numbers."""
    return getattr(target, "namespace", "") in ("npu", "air")


def _of_constants(op: Any, by_name: dict[str, Any]) -> bool:
    if not op.input:
        return op.type in ("Const", "ConstPlaceHolder")
    return all(_of_constants(by_name[name.rpartition(":")[0]], by_name) for name in op.input if name)


def _frames(node: Any) -> list[list[Any]]:
    """[file, line] of the calls that led to an FX node, outermost first."""
    found = _FRAME.finditer(node.stack_trace or "")
    return [[match["file"], int(match["line"])] for match in found]


def _reason(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)

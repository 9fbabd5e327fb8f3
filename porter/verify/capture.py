"""Is a port one graph for prefill and one for decode: dynamo with fullgraph, 64 compiled steps, padded and unpadded.

Contract: a tiny configuration on the CPU, float32, with a static cache allocated before the first step. A step is
driven as a runner drives it: `reserve`, the compiled call, the next token on the device. A host read in the driver is
seen by the methods of tensors that wait for a device; one inside a graph by its nodes. What a graph costs on a device
is not claimed.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch._dynamo.backends.common import aot_autograd

from porter.diagnostics import Refused
from porter.runtime import NpuPreTrainedModel, StaticKVCache, left_pad, position_ids_from_mask
from porter.runtime.cache_name import with_cache
from porter.verify.finding import FAILED, NOT_APPLICABLE, PASSED, Check, Measured
from porter.verify.parity import Progress, quiet
from porter.verify.port import Port, open_port
from porter.verify.tiny import tiny_config

STEPS, SLOTS = 64, 96
MODES = ("unpadded", "left padding")
_LENGTHS = (11, 7)
# Tensor methods that wait for the device: what they return is on the host.
_HOST_READS = ("item", "tolist", "cpu", "numpy", "nonzero", "__bool__", "__int__", "__float__", "__index__")
_HOST_OPS = ("aten._local_scalar_dense", "aten.nonzero", "aten.masked_select", "aten.is_nonzero", "aten.equal")


@dataclass
class _Graphs:
    """A backend that runs each graph as it is and keeps it."""

    graphs: list[Any] = field(default_factory=list)
    running: bool = False

    def __call__(self, graph: Any, inputs: Any) -> Any:
        return aot_autograd(fw_compiler=self._keep)(graph, inputs)

    def _keep(self, graph: Any, inputs: Any) -> Any:
        self.graphs.append(graph)

        def run(*arguments: Any) -> Any:
            self.running = True  # what kernels do is not the driver's
            try:
                return graph(*arguments)
            finally:
                self.running = False

        return run

    def host_reads(self) -> list[str]:
        """Nodes that wait for a device."""
        return [str(node.target) for graph in self.graphs for node in graph.graph.nodes if _reads_host(node)]


def capture(
    directory: Path, *, progress: Progress | None = None, edited: bool = False, trust_remote_code: bool = False
) -> tuple[Check, ...] | Refused:
    """Check the port in `directory`. Refused as `open_port` is."""
    port = open_port(directory, edited=edited, trust_remote_code=trust_remote_code)
    if isinstance(port, Refused):
        return port
    tell = progress or (lambda what, done, total: None)
    with quiet():
        checks: list[Check] = []
        for index, mode in enumerate(MODES):
            tell(mode, index, len(MODES))
            checks += _checks(port, mode)
        tell("", len(MODES), len(MODES))
    return tuple(checks)


def _checks(port: Port, mode: str) -> list[Check]:
    model_class = port.load_class()
    if not issubclass(model_class, NpuPreTrainedModel):
        detail = "the port keeps transformers' own cache, whose tensors a step replaces"
        return [Check("one graph a phase", mode, NOT_APPLICABLE, detail=detail)]
    torch.manual_seed(1)
    torch._dynamo.reset()
    config = tiny_config(model_class.config_class, **_room(model_class.config_class))
    model = model_class._from_config(config, dtype=torch.float32).eval()
    try:
        with torch.no_grad():
            return list(_measured(model, mode))
    except Exception as error:  # a graph break, or what a port's code raises
        return [Check("one graph a phase", mode, FAILED, detail=_told(error))]


def _measured(model: Any, mode: str) -> Iterator[Check]:
    backend = _Graphs()
    reads: list[str] = []
    step = torch.compile(model, fullgraph=True, dynamic=False, backend=backend)
    expected = list(_tokens(model, model, mode, compiled=False))
    tokens = []
    for number, token in enumerate(_tokens(model, step, mode, compiled=True, reads=reads, backend=backend)):
        tokens.append(token)
        if number == 0:
            known = len(backend.graphs)
            yield _check("graphs of a prefill", mode, Measured(known, 1, "graphs"))
        if number == 1:
            prefill, known = known, len(backend.graphs)
            yield _check("graphs of a decode step", mode, Measured(known - prefill, 1, "graphs"))
    recompiled = len(backend.graphs) - known
    yield _check("recompiles", mode, Measured(recompiled, 0, "recompiles", f"{STEPS} decode steps"))
    differ = sum(not torch.equal(one, other) for one, other in zip(tokens, expected, strict=True))
    yield _check("tokens of eager steps", mode, Measured(differ, 0, "tokens differ", f"of {len(tokens)}"))
    found = backend.host_reads()
    yield _check("host reads in the graphs", mode, Measured(len(found), 0, "host reads", ", ".join(found)))
    yield _check("host reads between steps", mode, Measured(len(reads), 0, "host reads", ", ".join(sorted(set(reads)))))


def _tokens(
    model: Any, step: Any, mode: str, *, compiled: bool, reads: list[str] | None = None, backend: _Graphs | None = None
) -> Iterator[torch.Tensor]:
    """The token after the prefill, then one a decode step, (B, 1) each, all on the device."""
    inputs = _prompt(mode)
    cache = StaticKVCache(model.config, SLOTS)
    given = {**with_cache(model, cache), "use_cache": True}
    model(**inputs, **given)  # allocates by the states' own shapes
    cache.reset()
    for number in range(STEPS + 1):
        count = inputs["input_ids"].shape[1]
        # the first two steps are traced, which reads tensors of its own
        with _watching(reads, backend) if reads is not None and number > 1 else _nothing():
            if compiled:
                cache.reserve(count)
            logits = step(**inputs, **given).logits
            token = logits[:, -1].argmax(-1, keepdim=True)
            inputs = {**inputs, "input_ids": token}
            if "position_ids" in inputs:
                inputs["position_ids"] = inputs["position_ids"][:, -1:] + 1
        yield token


def _prompt(mode: str) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    lengths = _LENGTHS if mode == "left padding" else (max(_LENGTHS),) * len(_LENGTHS)
    rows = [torch.randint(3, 100, (length,), generator=generator).tolist() for length in lengths]
    ids, mask = left_pad(rows, 0)
    if mode == "unpadded":
        return {"input_ids": ids}
    whole = torch.nn.functional.pad(mask, (0, SLOTS - ids.shape[1]), value=1)  # one length for the whole run
    return {"input_ids": ids, "attention_mask": whole, "position_ids": position_ids_from_mask(mask)}


@contextmanager
def _watching(reads: list[str], backend: _Graphs | None) -> Iterator[None]:
    """Record calls that wait for the device, but for those inside a graph's kernels."""

    def watched(name: str) -> Any:
        original = getattr(torch.Tensor, name)

        def call(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            if backend is None or not backend.running:
                reads.append(name)
            return original(self, *args, **kwargs)

        return call

    with mock.patch.multiple(torch.Tensor, **{name: watched(name) for name in _HOST_READS}):
        yield


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _reads_host(node: Any) -> bool:
    if str(node.target).startswith(_HOST_OPS):
        return True
    made = node.meta.get("val")
    if node.op != "call_function" or not isinstance(made, torch.Tensor):
        return False
    given = [argument.meta.get("val") for argument in node.all_input_nodes]
    from_device = any(isinstance(tensor, torch.Tensor) and tensor.device.type != "cpu" for tensor in given)
    return from_device and made.device.type == "cpu"


def _room(config_class: Any) -> dict[str, Any]:
    """Positions for the whole run: a table that a configuration sizes must hold them."""
    fields = inspect.signature(config_class.__init__).parameters
    return {name: 2 * SLOTS for name in ("max_position_embeddings", "n_positions") if name in fields}


def _told(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


def _check(name: str, mode: str, found: Measured) -> Check:
    outcome = PASSED if found.passed else FAILED
    return Check(name, mode, outcome, found.figure, found.limit, found.unit, found.detail)

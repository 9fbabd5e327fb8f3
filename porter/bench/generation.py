"""Prefill and decode of a port against its source, on one machine, in one process, with the same random weights.

Contract: both generate the same tokens, which is checked first (16-bit dtypes excepted: a rounding may turn a token);
each mode is what a user of either would call. `eager`: `generate()`, the source with its growing cache and sdpa, the
port as its runner has it, with one static cache for all calls, rotary tables and, on a CPU, large products by blocks.
`compiled`: so prepared too, static caches for both, and one graph a step by the same backend, mask and loop. The times
of a step hold everything between one token and the next; on a device they wait for it. `SHAPES` are small: on a CPU
they are figures of the framework and the CPU kernels, not of an NPU.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
from transformers import LogitsProcessorList, StaticCache

from porter.bench.bandwidth import bytes_of_a_step, copy_bandwidth
from porter.bench.timing import Ratio, Times, in_turns
from porter.diagnostics import Refused
from porter.parallel.by_layer import in_layers
from porter.runner.backends import Backend, choose_backend
from porter.runner.clock import StepClock
from porter.runner.devices import choose_device
from porter.runner.graph import CompiledSteps, Steps, allocate
from porter.runner.loop import CompiledLoop
from porter.runner.refusal import keeps_its_cache
from porter.runtime import NpuPreTrainedModel, StaticKVCache, block_products, tabulate_rotary
from porter.runtime.cache_name import GENERATED
from porter.verify.port import Port
from porter.verify.tiny import tiny_config

MODES = ("eager", "compiled")
_TURN = 0.5  # seconds: the smallest shapes answer in a tenth, and one such answer says little
_WIDTHS = ("hidden_size", "d_model", "n_embd")
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
_INNER = ("intermediate_size", "n_inner", "ffn_dim")
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")


@dataclass(frozen=True)
class Shape:
    """Sizes of a model and of what it is asked: `batch` prompts of `prompt` tokens, `steps` new tokens each."""

    name: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    batch: int = 1
    prompt: int = 128
    steps: int = 32
    dtype: torch.dtype = torch.float32
    intermediate: int | None = None  # 8/3 of hidden by default
    vocabulary: int = 2048

    @property
    def kv_size(self) -> int:
        """Bytes of keys and values a position, all layers."""
        return 2 * self.layers * self.kv_heads * (self.hidden // self.heads) * self.dtype.itemsize

    def __str__(self) -> str:
        kind = str(self.dtype).removeprefix("torch.")
        return f"{self.name}, {kind}, batch {self.batch}, prompt {self.prompt}"


TINY = Shape("tiny: 4 layers of 256", 256, 4, 4, 2)
SMALL = Shape("small: 8 layers of 512", 512, 8, 8, 4)
SHAPES = (
    TINY,
    Shape(TINY.name, 256, 4, 4, 2, batch=4),
    SMALL,
    Shape(SMALL.name, 512, 8, 8, 4, dtype=torch.bfloat16),
    Shape(SMALL.name, 512, 8, 8, 4, prompt=512),
    Shape("wide: 2 layers of 2048", 2048, 2, 16, 8),
)
LLAMA_2_7B = Shape(
    "Llama-2-7B", 4096, 32, 32, 32, prompt=1024, dtype=torch.bfloat16, intermediate=11008, vocabulary=32000
)  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """One shape in one mode: a ratio for `prefill` and one for `decode`, milliseconds a step.

    decode_bytes: what a decode step of the port must read, at the middle of the answer; bandwidth: bytes a second.
    """

    shape: Shape
    mode: str
    ratios: tuple[Ratio, ...]
    decode_bytes: int
    bandwidth: float

    def bandwidth_share(self, decode_ms: float) -> float:
        """How near a decode step of that time comes to the memory's bandwidth; 1 is all of it."""
        return self.decode_bytes / (decode_ms / 1000.0) / self.bandwidth


class SourceSteps(CompiledSteps):
    """The steps of a source model, whose static cache counts no reservations."""

    def prefill(self, input_ids: Any, mask: Any, positions: Any, cache: Any) -> torch.Tensor:
        return self._prefill_of(None)(input_ids, mask, positions, cache)

    def decode(self, input_ids: Any, mask: Any, positions: Any, cache: Any) -> torch.Tensor:
        return self._decode(input_ids, mask, positions, cache)


def compare(
    port: Port, shapes: tuple[Shape, ...] = SHAPES, modes: tuple[str, ...] = MODES, rounds: int = 7, **options: Any
) -> Iterator[Comparison]:
    """Each shape in each mode. `options`: `device`, by default the CPU, and `backend` of the compiled mode.

    The source of `port` is there and loads: `open_to_compare` and `load_source_class` say so. Raises RuntimeError where
    tokens differ, CannotRun for a device or a backend that is not there, and for the compiled mode alone of a port that
    keeps its source's cache; with eager asked too it is left out.
    """
    device = choose_device(options.get("device", "cpu"))
    backend = choose_backend(options.get("backend"), device)
    if not issubclass(port.load_class(), NpuPreTrainedModel):
        if "eager" not in modes:
            raise keeps_its_cache(port.name, "give `--mode eager`")
        modes = ("eager",)
    bandwidth = copy_bandwidth(device)
    for shape in shapes:
        ours, theirs = _models(port, shape, device)
        read = bytes_of_a_step(ours, shape.batch, shape.prompt + shape.steps // 2, shape.kv_size)
        for mode in modes:
            torch._dynamo.reset()
            make = _eager if mode == "eager" else partial(_compiled, backend=backend)
            runs = make(ours, shape), make(theirs, shape)
            tokens = [run()[1] for run in runs]
            if shape.dtype == torch.float32 and not torch.equal(*tokens):
                raise RuntimeError(f"the port and its source generate other tokens ({shape}, {mode}): verify it first")
            ratios = in_turns(partial(_times, runs[0]), partial(_times, runs[1]), rounds, _TURN)
            yield Comparison(shape, mode, ratios, read, bandwidth)


Run = Callable[[], tuple[Times, torch.Tensor]]


def _times(run: Run) -> Times:
    return run()[0]


def _eager(model: Any, shape: Shape) -> Run:
    if not isinstance(model, NpuPreTrainedModel):
        return lambda: _generate(model, shape)
    cache = _cache_for(model, shape, Steps(model))

    def run() -> tuple[Times, torch.Tensor]:
        cache.reset()
        return _generate(model, shape, **{GENERATED: cache})

    return run


def _compiled(model: Any, shape: Shape, backend: Backend) -> Run:
    slots, steps = shape.prompt + shape.steps, Steps(model)
    cache = _cache_for(model, shape, steps)
    compiled = (CompiledSteps if isinstance(model, NpuPreTrainedModel) else SourceSteps)(steps, backend)
    mask = torch.ones(shape.batch, slots, dtype=torch.int64, device=model.device)

    def run() -> tuple[Times, torch.Tensor]:
        cache.reset()
        return _generate(model, shape, **{GENERATED: cache}, custom_generate=CompiledLoop(compiled, cache, mask))

    return run


def _cache_for(model: Any, shape: Shape, steps: Steps) -> Any:
    """A static cache that has its memory; for a port with rotary tables of its length, as its runner makes them."""
    slots, ported = shape.prompt + shape.steps, isinstance(model, NpuPreTrainedModel)
    cache: Any = (StaticKVCache if ported else StaticCache)(config=model.config, max_cache_len=slots)
    allocate(steps, cache, shape.batch)
    if ported:
        tabulate_rotary(model, slots)
    return cache


def _generate(model: Any, shape: Shape, **options: Any) -> tuple[Times, torch.Tensor]:
    prompts = torch.randint(3, model.config.vocab_size, (shape.batch, shape.prompt), generator=_seeded())
    prompts = prompts.to(model.device)
    # one thread's own time does not count what else the machine does
    alone = prompts.is_cpu and torch.get_num_threads() == 1
    clock = StepClock(time.process_time if alone else time.perf_counter)
    tokens = model.generate(
        prompts,
        attention_mask=torch.ones_like(prompts),
        do_sample=False,
        max_new_tokens=shape.steps,
        eos_token_id=[],
        pad_token_id=0,
        logits_processor=LogitsProcessorList([clock]),
        **options,
    )
    steps = [1000.0 * (later - earlier) for earlier, later in zip(clock.steps, clock.steps[1:], strict=False)]
    return {"prefill": clock.prefill_ms, "decode": median(steps)}, tokens


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _models(port: Port, shape: Shape, device: torch.device) -> tuple[Any, Any]:
    """The port, its products as its runner has them, and its source with the same random weights, in the shape's sizes
    where the configuration has them."""
    source_class, port_class = port.load_source_class(), port.load_class()
    assert not isinstance(source_class, Refused), source_class
    fields = inspect.signature(source_class.config_class.__init__).parameters
    base = tiny_config(source_class.config_class)
    wanted = {
        **dict.fromkeys(_WIDTHS, shape.hidden),
        **dict.fromkeys(_HEADS, shape.heads),
        **dict.fromkeys(_INNER, shape.intermediate or 8 * shape.hidden // 3 // 64 * 64),
        **dict.fromkeys(_LAYERS, shape.layers),
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.hidden // shape.heads,
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": 2048,
    }
    there: dict[str, Any] = {name: value for name, value in wanted.items() if name in fields}
    config = {name: value for name, value in there.items() if any(size is not None for size in in_layers(base, name))}
    torch.manual_seed(0)
    with device:  # where the weights are drawn: a large model is never on the host
        source, ported = (
            made._from_config(tiny_config(made.config_class, **config), dtype=shape.dtype).eval()
            for made in (source_class, port_class)
        )
    ported.load_state_dict(source.state_dict())
    block_products(ported)
    return ported, source

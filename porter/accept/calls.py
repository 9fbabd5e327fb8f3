"""Which ops a port calls, with which shapes, dtypes and settings: recorded from the port itself, without a device.

Contract: the model is built on the meta device at a configuration, as one rank of `tp` holds it, and asked for prefills
and decode steps in a static cache, with and without left padding, of one token, in the middle and into the last slot.
What it then calls are the calls that a device gets in eager mode; a compiled decode without lengths is added.
A step that does not fit into the memory it may take is made smaller, and says so. Nothing is computed.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from porter.accept.sides import by_name
from porter.npu.attention_contract import OP as ATTENTION
from porter.parallel.share import cut_shapes
from porter.runtime import NpuPreTrainedModel, StaticKVCache
from porter.runtime.cache_name import with_cache

BATCH, PROMPT, SLOTS = 2, 2048, 4096
TORCHS_OWN = frozenset({"aten", "prim", "prims", "c10d", "_c10d_functional", "profiler", "inductor", "higher_order"})
_WRITES = ("scatter_update_", "scatter_update")  # what they do hangs on where a step stands in the cache
_SMALLEST = 1 << 12  # times smaller than asked for, at most
_COPIES = 6  # of every tensor: on the device, rounded and widened on the host, and as many results


@dataclass(frozen=True)
class TensorOf:
    """A tensor without values."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    @property
    def nbytes(self) -> int:
        return torch.Size(self.shape).numel() * self.dtype.itemsize

    def __str__(self) -> str:
        sizes = ",".join(map(str, self.shape))
        turned = "" if torch.empty(self.shape, device="meta").stride() == self.stride else " strided"
        return f"{str(self.dtype).removeprefix('torch.')}[{sizes}]{turned}"


@dataclass(frozen=True)
class Situation:
    """A step: `queries` new tokens a row behind `past` ones, in a cache of `slots`; of the first row, `padding` tokens
    are padding on the left."""

    name: str
    queries: int
    past: int
    slots: int
    padding: int = 0
    batch: int = BATCH

    def smaller(self, factor: int) -> Situation:
        def cut(size: int) -> int:
            return max(size // factor, min(size, 1))

        queries, slots = cut(self.queries), max(cut(self.slots), 2)
        past = slots - 1 if self.past == self.slots - 1 else min(cut(self.past), slots - queries)
        return replace(self, queries=queries, past=past, slots=max(slots, queries), padding=cut(self.padding))


@dataclass(frozen=True)
class Call:
    """One call of an op. `arguments` by the schema's names, tensors as TensorOf, the first `positional` without name.

    shrunk: what was made smaller to fit; too_large: why it is not made at all.
    """

    op: str  # namespace::name
    arguments: dict[str, Any]
    positional: int
    situation: Situation
    shrunk: str = ""
    too_large: str = ""
    of: str = ""  # what configuration it is of
    tensors: tuple[TensorOf, ...] = field(default=(), compare=False)

    @property
    def name(self) -> str:
        return self.op.partition("::")[2]

    @property
    def dtype(self) -> str:
        """Of the first tensor."""
        return str(self.tensors[0].dtype).removeprefix("torch.") if self.tensors else ""

    @property
    def needs(self) -> int:
        """Bytes, roughly, that computing it on both sides takes."""
        floats = 4 * sum(torch.Size(tensor.shape).numel() for tensor in self.tensors)
        return _COPIES * floats + _scores(self)

    def key(self) -> tuple[Any, ...]:
        """Two calls of one key ask the same of the op."""
        at = self.situation
        place = at.name if self.name == ATTENTION else at.past if self.name in _WRITES else ""
        return self.op, repr(self.arguments), place

    def __str__(self) -> str:
        shown = [f"{name}={_shown(value)}" for name, value in self.arguments.items() if value is not None]
        return ", ".join(shown)


def _shown(value: Any) -> str:
    if isinstance(value, (list, tuple)) and len(value) > 4 and len(set(value)) == 1:
        return f"[{value[0]}] * {len(value)}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_shown, value))}]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _scores(call: Call) -> int:
    """What attention holds between its two products, float32 and twice."""
    if call.name != ATTENTION or len(call.tensors) < 2 or len(call.tensors[0].shape) != 4:
        return 0
    (batch, queries, *_), (_, keys, *_) = call.tensors[0].shape, call.tensors[1].shape
    return 8 * batch * call.arguments.get("num_heads", 1) * queries * keys


class Recorder(TorchDispatchMode):
    """The calls of ops that are not torch's own, in order."""

    def __init__(self, situation: Situation) -> None:
        super().__init__()
        self.situation, self.calls = situation, list[Call]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace not in TORCHS_OWN:
            self.calls.append(call_of(func, args, kwargs or {}, self.situation))
        return func(*args, **(kwargs or {}))


def call_of(func: Any, args: Any, kwargs: dict[str, Any], situation: Situation) -> Call:
    """What is asked of an op, without values."""
    arguments = tree_map(_without_values, by_name(func, args, kwargs))
    tensors = tuple(leaf for leaf in tree_leaves(arguments) if isinstance(leaf, TensorOf))
    return Call(func._schema.name, arguments, len(args), situation, tensors=tensors)


def _without_values(value: Any) -> Any:
    return TensorOf(tuple(value.shape), value.stride(), value.dtype) if isinstance(value, torch.Tensor) else value


def situations(longest: int) -> tuple[Situation, ...]:
    """What a port of a model with `longest` positions is asked."""
    slots = max(min(longest, SLOTS), 4)
    prompt, half, last = min(PROMPT, 3 * slots // 4), slots // 2, slots - 1
    return (
        Situation("prefill", prompt, 0, slots),
        Situation("prefill, left padding", prompt, 0, slots, padding=max(prompt // 3, 1)),
        Situation("prefill of one token", 1, 0, slots),
        Situation("decode", 1, half, slots),
        Situation("decode, left padding", 1, half, slots, padding=max(half // 3, 1)),
        Situation("decode into the last slot", 1, last, slots),
        Situation("decode into the last slot, left padding", 1, last, slots, padding=max(half // 3, 1)),
    )


def calls_of(
    model_class: Any, config: Any, dtype: torch.dtype, memory: int, tp: int = 1, split: dict[str, Any] | None = None
) -> tuple[Call, ...]:
    """Every different call, in order; `memory`: bytes that one may take on both sides together. Raises what the model
    does for a configuration that it does not take, and CannotShard where `tp` does not divide."""
    with torch.device("meta"):
        model = model_class._from_config(copy.deepcopy(config), dtype=dtype).eval()
    if tp > 1 and split is not None:
        cut_shapes(model, split["layer_class"], split["row_parallel"], tp)
    longest = getattr(config.get_text_config(decoder=True), "max_position_embeddings", None) or PROMPT
    found: dict[tuple[Any, ...], Call] = {}
    for situation in situations(longest):
        for call in _fitting(model, situation, memory):
            found.setdefault(call.key(), call)
            for other in _as_compiled(call):
                found.setdefault(other.key(), other)
    return tuple(found.values())


def _fitting(model: Any, situation: Situation, memory: int) -> Iterator[Call]:
    """The calls of a step; one that needs more memory is taken from a smaller step, if that helps."""
    steps = {1: _recorded(model, situation)}
    different = {call.key(): index for index, call in reversed(list(enumerate(steps[1])))}
    for index in sorted(different.values()):
        whole, factor = steps[1][index], 1
        call = whole
        while call.needs > memory and factor < _SMALLEST:
            factor *= 2
            if factor not in steps:
                steps[factor] = _recorded(model, situation.smaller(factor))
            before, call = call, steps[factor][index]
            if call.needs >= before.needs:  # weights are as large in every step
                break
        if call.needs > memory:
            reason = f"needs about {whole.needs / 2**30:.1f} GiB in both places, and {memory / 2**30:.1f} GiB is there"
            yield replace(whole, too_large=reason)
        elif factor > 1:
            small = call.situation
            told = f"{small.queries} queries behind {small.past} in {small.slots} slots"
            yield replace(call, shrunk=f"made smaller to fit into {memory / 2**30:.1f} GiB: {told}")
        else:
            yield call


def _recorded(model: Any, situation: Situation) -> list[Call]:
    ids = torch.empty(situation.batch, situation.queries, dtype=torch.int64, device="meta")
    asked: dict[str, Any] = {"input_ids": ids, "position_ids": torch.empty_like(ids), "use_cache": False}
    if isinstance(model, NpuPreTrainedModel):
        cache = StaticKVCache(model.config, situation.slots)
        with torch.no_grad():
            if situation.past:  # a first token gives the cache its memory
                one = torch.empty_like(ids[:, :1])
                model(input_ids=one, position_ids=one, use_cache=True, **with_cache(model, cache))
                cache.set_length(situation.past)
        asked |= {"use_cache": True, **with_cache(model, cache)}
    elif situation.past:  # it keeps transformers' own attention and cache
        return []
    if situation.padding:
        seen = situation.slots if asked["use_cache"] else situation.queries
        asked["attention_mask"] = torch.empty(situation.batch, seen, dtype=torch.int64, device="meta")
    with torch.no_grad(), Recorder(situation) as recorder:
        model(**asked)
    return recorder.calls


def _as_compiled(call: Call) -> Iterator[Call]:
    """Attention of one token as a step compiled by npugraph_ex calls it: the mask says all, there are no lengths."""
    arguments = call.arguments
    has_both = arguments.get("atten_mask") is not None and arguments.get("actual_seq_lengths_kv") is not None
    if call.name == ATTENTION and has_both:
        situation = replace(call.situation, name=f"{call.situation.name}, compiled")
        yield replace(call, arguments={**arguments, "actual_seq_lengths_kv": None}, situation=situation)

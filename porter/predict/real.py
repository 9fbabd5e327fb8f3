"""A model at its real sizes without memory: which layers are alike, what a rank holds, the graphs of its two steps.

Contract: runs in the worker's process, on the meta device: shapes only. Graphs are made of models with a few layers,
two of each kind where the configuration can say so, else the first ones: as many as show what each kind adds. What is
asked: `config`, a whole configuration; `batch`, `input` and `output` tokens; `tp` ranks; `dtype`; `last`, whether only
the last position has logits; `context`, the tokens that a growing cache holds at a decode step (a port's own
holds all).
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import DynamicCache

from porter.lowering.named import arguments
from porter.parallel.layers import Layer
from porter.parallel.share import cut_shapes
from porter.predict.described import described
from porter.predict.layers import depths, numbered, shortest
from porter.runtime import NpuPreTrainedModel, StaticKVCache, tabulate_rotary
from porter.runtime.splits import splits_of

PHASES = ("prefill", "decode")


def at_real_size(model_class: Any, asked: dict[str, Any], split: Any, recorder: Callable[[], Any]) -> dict[str, Any]:
    """`kinds`: a number for each layer, the same for layers that are alike; `shown`: those of the layers that stand for
    all; `grows`: whether the cache does, and shapes change from step to step; `sizes` and `steps` by how many of the
    shown layers were lowered.

    Raises what the model, the cut and the converters raise.
    """
    config = model_class.config_class.from_dict(asked["config"])
    made: dict[str, Any] = {"sizes": {}, "steps": {phase: {} for phase in PHASES}}
    made["grows"] = not issubclass(model_class, NpuPreTrainedModel)
    with torch.no_grad():
        signatures = _signatures(_built(model_class, config, asked))
        kinds = numbered(signatures)
        shown = shortest(kinds)
        short = _signatures(_built(model_class, with_layers(config, shown), asked))
        if short != [signatures[index] for index in shown]:  # where a layer stands decides what it is
            shown = list(range(max(depths(kinds))))
        made |= {"kinds": kinds, "shown": [kinds[index] for index in shown]}
        for depth in depths(made["shown"]):
            model = _built(model_class, with_layers(config, shown[:depth]), asked)
            summed = _cut(model, split, asked["tp"])
            made["sizes"][depth] = {"summed": summed, **_sizes(model)}
            for phase in PHASES:
                step = _step(model, phase, asked, recorder())
                made["sizes"][depth]["cache"] = step.pop("cache")
                made["steps"][phase][depth] = step["nodes"]
    return made


def _signatures(model: Any) -> list[Any]:
    """Of each layer: what `layer_types` calls it, and what it holds."""
    text = model.config.get_text_config(decoder=True)
    count = text.num_hidden_layers
    lists = (module for module in model.modules() if isinstance(module, torch.nn.ModuleList) and len(module) == count)
    layers = next(lists, None)
    if layers is None:
        return [None] * count
    names = getattr(text, "layer_types", None) or [None] * count
    return [
        (
            name,
            tuple((path, type(module).__name__) for path, module in layer.named_modules()),
            tuple((path, tuple(weight.shape)) for path, weight in layer.named_parameters()),
        )
        for name, layer in zip(names, layers, strict=False)
    ]


def with_layers(config: Any, chosen: Sequence[int]) -> Any:
    """The configuration of a model of some of its layers, as far as lists with an entry for each say what they are."""
    own = copy.deepcopy(config)
    text = own.get_text_config(decoder=True)
    total = text.num_hidden_layers
    for name, value in list(vars(text).items()):
        if isinstance(value, (list, tuple)) and len(value) == total and "layer" in name:
            setattr(text, name, [value[index] for index in chosen])
    text.num_hidden_layers = len(chosen)
    return own


def _built(model_class: Any, config: Any, asked: dict[str, Any]) -> Any:
    options = {} if issubclass(model_class, NpuPreTrainedModel) else {"attn_implementation": "eager"}
    with torch.device("meta"):
        made = model_class._from_config(copy.deepcopy(config), dtype=getattr(torch, asked["dtype"]), **options)
    return made.eval()


def _cut(model: Any, split: Any, ranks: int) -> list[str]:
    """Leave a rank's share; the modules whose result is summed over the ranks then."""
    if ranks == 1:
        return []
    cut_shapes(model, split["layer_class"], split["row_parallel"], ranks)
    splits = splits_of(model)
    layers = [
        (path, Layer(module, split["row_parallel"], splits))
        for path, module in model.named_modules()
        if type(module).__name__ == split["layer_class"]
    ]
    return [f"{path}.{output}" for path, layer in layers for output in layer.outputs]


def _sizes(model: Any) -> dict[str, Any]:
    """Bytes of all weights, of a token's hidden state and of the weight that makes logits, with that weight's name."""
    weights = dict(model.named_parameters())
    head = getattr(model.get_output_embeddings(), "weight", None)
    name = next((name for name, weight in weights.items() if weight is head), "")
    width = model.config.get_text_config(decoder=True).hidden_size
    return {
        "weights": _bytes(weights.values()),
        "row": width * model.dtype.itemsize,
        "head": name,
        "head_bytes": 0 if head is None or _is_shared(model, head) else _bytes([head]),
    }


def _is_shared(model: Any, head: torch.Tensor) -> bool:
    """Whether the embedding is the same memory: then a rank keeps it whole."""
    embedding = model.get_input_embeddings()
    return embedding is not None and getattr(embedding, "weight", None) is head


def _step(model: Any, phase: str, asked: dict[str, Any], recorder: Any) -> dict[str, Any]:
    """Compile one step and keep its graph; before a decode step the prompt is in the cache."""
    batch, prompt, slots = asked["batch"], asked["input"], asked["input"] + asked["output"]
    is_static = isinstance(model, NpuPreTrainedModel)
    cache = StaticKVCache(model.config, slots) if is_static else DynamicCache(config=model.config)
    start, count = (0, prompt) if phase == "prefill" else (prompt if is_static else asked["context"], 1)
    held = max(start, prompt)
    model(**_inputs(model, cache, batch, 0, held, slots if is_static else held, last=True))
    if is_static:
        if phase == "prefill":
            cache.reset()
        cache.reserve(count)
        tabulate_rotary(model, slots)  # as the runner does
    elif phase == "prefill":
        cache.crop(0)
    whole = slots if is_static else start + count
    given = _inputs(model, cache, batch, start, count, whole, last=asked["last"])
    torch._dynamo.reset()
    nodes = described(model, recorder, given)
    return {"nodes": nodes, "cache": _bytes(_held(cache))}


def _inputs(model: Any, cache: Any, batch: int, start: int, count: int, whole: int, *, last: bool) -> dict[str, Any]:
    ids = torch.empty(batch, count, dtype=torch.int64, device="meta")
    mask = torch.empty(batch, whole, dtype=torch.int64, device="meta")
    given = arguments(model, ids, start, cache, mask)
    if last and "logits_to_keep" in inspect.signature(model.forward).parameters:
        given["logits_to_keep"] = 1
    return given


def _held(value: Any, seen: set[int] | None = None) -> list[torch.Tensor]:
    """All tensors that an object of a cache leads to."""
    seen = set() if seen is None else seen
    if isinstance(value, torch.Tensor):
        return [value]
    if id(value) in seen:
        return []
    seen.add(id(value))
    inner = list(value) if isinstance(value, (list, tuple)) else []
    if type(value).__module__.startswith(("porter.", "transformers.cache")):
        inner = list(vars(value).values())
    return [tensor for item in inner for tensor in _held(item, seen)]


def _bytes(tensors: Any) -> int:
    return sum({id(tensor): tensor.numel() * tensor.element_size() for tensor in tensors}.values())

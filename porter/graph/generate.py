"""Prefill and decode by graphs beside the source: the same tokens go into both, and what they make of them is compared.

Contract: the truth is the source with a cache of its own; the port lends its weights, buffers and cache, and none of
its code runs. Tokens are the source's greedy ones: while both choose the same, these are what either would generate.
Logits at padding are not compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from porter.graph.run import run
from porter.graph.types import tensor_of
from porter.graph.values import Graph
from porter.lowering.named import PROMPT, Held, arguments, mask_to, prompt
from porter.runtime.cache_name import returned_cache
from porter.verify.pair import relative


def compared(source: Any, lent: Held, graphs: Mapping[str, Graph], steps: int) -> Iterator[tuple[str, float, int]]:
    """(phase, largest error of the logits as a share of their scale, tokens that differ), prefill and then `steps` of
    decode. CannotCompute where a graph is not computed here."""
    past, start = None, 0
    kept = kept_by(graphs)
    ids = prompt(source.config.get_text_config(decoder=True).vocab_size)
    for index in range(steps + 1):
        phase = "decode" if index else "prefill"
        output = source(**arguments(source, ids, start, past, mask_to(start + ids.shape[1])))
        past = returned_cache(output)
        real = mask_to(start + ids.shape[1])[:, start:].bool()
        logits = by_graph(graphs[phase], lent, kept[phase], lent.step(ids, start))[real]
        truth = output.logits[real]
        chosen = output.logits[:, -1:].argmax(-1)
        yield phase, relative(logits, truth), int((logits.argmax(-1) != truth.argmax(-1)).sum())
        start, ids = PROMPT + index, chosen


def kept_by(graphs: Mapping[str, Graph]) -> dict[str, dict[str, torch.Tensor]]:
    """Phase -> the constants of its graph, by their names."""
    return {
        phase: {name: tensor_of(value) for name, value in graph.constants.items()} for phase, graph in graphs.items()
    }


def by_graph(graph: Graph, lent: Held, kept: dict[str, torch.Tensor], given: dict[str, Any]) -> torch.Tensor:
    """The logits of one step, whose arguments are `given`."""
    named = lent.tensors(given) | kept
    return run(graph, [named[name] for name in graph.inputs])

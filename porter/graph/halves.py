"""The graphs of a port in 16 bits beside its source: by the error rule of `porter.verify.precision`, and by tokens.

Contract: the rule is that of a port: truth is the source in float32 on the same 16-bit weights, prompts of 9 tokens and
3 cached steps. A prompt stands in the graph's prefill behind padding. Over all decode steps the tokens are compared:
where the truth's two best logits lie no further apart than two errors of the source, both are right.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from porter.graph.generate import by_graph, kept_by
from porter.graph.values import Graph
from porter.lowering.named import BATCH, PADDING, PROMPT, SLOTS, Held, arguments, held, mask_to, prompt
from porter.runtime.cache_name import returned_cache
from porter.verify.finding import Measured
from porter.verify.pair import Pair, load, relative
from porter.verify.precision import precision
from porter.verify.rounding import ulp


def by_the_rule(source: Any, model: Any, graphs: Mapping[str, Graph], dtype: torch.dtype, folder: Path) -> Measured:
    """The graphs' error as a share of the error they may have. CannotCompute where one is not computed here."""
    kept = kept_by(graphs)

    class ByGraphs:
        """What `precision` takes for a port: the graphs, fed with the weights of a port."""

        def __init__(self, lent: Held) -> None:
            self.lent = lent

        @classmethod
        def from_pretrained(cls, place: Path, **asked: Any) -> ByGraphs:
            return cls(held(type(model).from_pretrained(place, **asked).eval()))

        def eval(self) -> ByGraphs:
            return self

        def __call__(self, ids: torch.Tensor, **given: Any) -> Any:
            return self.forward(ids, **given)

        def forward(self, ids: torch.Tensor, past_key_values: Any = None, use_cache: bool = True) -> Any:
            start, length = past_key_values or 0, ids.shape[1]
            phase = "decode" if start else "prefill"
            if not start:
                self.lent.cache.reset()
                ids = torch.nn.functional.pad(ids, (PADDING, 0))
            self.lent.cache.reserve(ids.shape[1])
            mask = torch.ones(BATCH, SLOTS, dtype=torch.int64)
            mask[:, :PADDING] = 0
            asked = arguments(self.lent.model, ids, start, self.lent.cache, mask)
            logits = by_graph(graphs[phase], self.lent, kept[phase], asked)
            return SimpleNamespace(logits=logits[:, -length:], past_key_values=start + ids.shape[1])

    stands_for_port: Any = ByGraphs(held(model))
    return precision(Pair(source, stands_for_port, source.config, folder), dtype)


def compared_in(
    source: Any, model: Any, graphs: Mapping[str, Graph], steps: int, dtype: torch.dtype, folder: Path
) -> Iterator[tuple[str, float, int]]:
    """As `generate.compared`, of models in `dtype`; the truth, whose tokens go in, is loaded here."""
    truth_model, lent, kept = load(type(source), folder), held(model), kept_by(graphs)
    pasts: dict[Any, Any] = {truth_model: None, source: None}
    ids, start = prompt(source.config.get_text_config(decoder=True).vocab_size), 0
    for index in range(steps + 1):
        phase, mask = "decode" if index else "prefill", mask_to(start + ids.shape[1])
        real, said = mask[:, start:].bool(), []
        for one in (truth_model, source):
            output = one(**arguments(one, ids, start, pasts[one], mask))
            pasts[one] = returned_cache(output)
            said.append(output.logits.float())
        chosen = said[0][:, -1:].argmax(-1)
        truth, theirs = (logits[real] for logits in said)
        logits = by_graph(graphs[phase], lent, kept[phase], lent.step(ids, start))[real].float()
        yield phase, relative(logits, truth), tokens_that_differ(logits, truth, theirs, dtype)
        start, ids = PROMPT + index, chosen


def tokens_that_differ(logits: torch.Tensor, truth: torch.Tensor, source: torch.Tensor, dtype: torch.dtype) -> int:
    """Rows (tokens, V) that choose otherwise than the truth, by more than twice the error that the source makes."""
    error = torch.maximum((source - truth).abs().max(), ulp(truth.square().mean().sqrt(), dtype))
    chosen = truth.gather(-1, logits.argmax(-1, keepdim=True))[..., 0]
    wrong = ~(truth.amax(-1) - chosen <= 2 * error)
    return int((wrong | ~logits.isfinite().all(-1)).sum())

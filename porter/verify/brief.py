"""A port against its source in seconds: fp32 logits of a call, under sdpa and eager attention, and eight tokens.

Contract: one tiny configuration, left padding where the model takes a batch of prompts. `parity` asks for more; this is
for many ports in turn. Raises whatever the models raise.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from porter.diagnostics import Refused
from porter.verify.implementations import other_implementation, otherwise
from porter.verify.pair import NpuOps, Pair, load, relative, write_checkpoint
from porter.verify.parity import quiet
from porter.verify.port import Port
from porter.verify.tiny import special_input, tiny_config

LIMIT = 1e-5
STEPS = 8
PROMPT = 11  # with the steps, past a tiny sliding window of 8
PADDING = 4  # of the first of two prompts, on the left


@dataclass(frozen=True)
class Compared:
    """figure: logits' largest difference over their scale; ops: calls of each NPU op in one forward of the port."""

    figure: float
    same_tokens: bool
    ops: dict[str, int]

    @property
    def equal(self) -> bool:
        return self.figure <= LIMIT and self.same_tokens  # NaN is not


def compare(port: Port) -> Compared | Refused:
    """Both models from one checkpoint with random weights. Refused where the source does not load."""
    source_class = port.load_source_class()
    if isinstance(source_class, Refused):
        return source_class
    with quiet(), tempfile.TemporaryDirectory() as name:
        write_checkpoint(source_class, tiny_config(source_class.config_class), Path(name))
        source = load(source_class, Path(name))
        pair = Pair(source, load(port.load_class(), Path(name)), source.config, Path(name))
        return _compared(pair, otherwise(pair) if other_implementation(source) else None)


def _compared(pair: Pair, other: Pair | None) -> Compared:
    asked = _inputs(pair)
    with NpuOps() as ops:
        figure = _figure_of(pair, asked)
    if other is not None:
        figure = max(figure, _figure_of(other, asked))
    tokens = [
        model.generate(**asked, max_new_tokens=STEPS, min_new_tokens=STEPS, do_sample=False)
        for model in (pair.source, pair.port)
    ]
    same = tokens[0].shape == tokens[1].shape and bool((tokens[0] == tokens[1]).all())
    return Compared(figure, same, dict(sorted(ops.calls.items())))


def _figure_of(pair: Pair, asked: dict[str, Any]) -> float:
    """How far the logits differ in one call; what stands at a padding position is nobody's result."""
    with torch.no_grad():
        theirs, ours = (model(**asked).logits for model in (pair.source, pair.port))
    real = asked.get("attention_mask")
    return relative(ours, theirs) if real is None else relative(ours[real.bool()], theirs[real.bool()])


def _inputs(pair: Pair) -> dict[str, Any]:
    kind = special_input(pair.config.model_type)
    if kind == "codebooks":  # a row of tokens for each codebook of a sequence
        return {"input_ids": pair.prompts(pair.config.num_codebooks, 5)}
    if kind == "backbone_states":
        generator = torch.Generator().manual_seed(0)
        states = torch.randn((1, pair.config.backbone_hidden_size), generator=generator)
        return {"input_ids": pair.prompts(1, 3), "backbone_last_hidden_state": states}
    ids = pair.prompts(2, PROMPT)
    mask = torch.ones_like(ids)
    mask[0, :PADDING] = 0
    return {"input_ids": ids, "attention_mask": mask}

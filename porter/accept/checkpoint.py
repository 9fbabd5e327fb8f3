"""Real weights: the port beside its source on the same device, layer by layer, and by greedy tokens.

Contract: one of the two models is on the device at a time. Weights keep the checkpoint's dtype, but for float32 ones on
an NPU, whose attention takes none: they are rounded to bfloat16 for both. The prompts are drawn token ids.
"""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import torch

from porter.accept.device_model import rehearsed
from porter.accept.layers import through_port, through_source
from porter.accept.probe import AGREES, DIFFERS, NOTED, Say
from porter.accept.sides import Sides
from porter.diagnostics import Refused
from porter.verify.parity import quiet
from porter.verify.port import Port

PROMPTS, LENGTH, TOKENS = 2, 12, 16


def checkpoint_by_layer(port: Port, sides: Sides, folder: Path, say: Say) -> None:
    with quiet():
        source = _load(_source_class(port), folder, sides)
        passed = through_source(source, sides.device)
        del source
        _let_go(sides)
        through_port(_load(port.load_class(), folder, sides), passed, sides, say)


def checkpoint_tokens(port: Port, sides: Sides, folder: Path, say: Say) -> None:
    """Greedy answers of both; where one differs, by how much the source's choice led."""
    with quiet():
        source = _load(_source_class(port), folder, sides)
        dtype = source.dtype
        theirs, leads = _answers(source, sides)
        del source
        _let_go(sides)
        model = _load(port.load_class(), folder, sides)
        with rehearsed(sides):
            ours, _ = _answers(model, sides)
    different = (theirs != ours).nonzero()
    entry: dict[str, Any] = {"outcome": AGREES, "detail": f"{theirs.numel()} tokens"}
    if len(different):
        row, step = (int(place) for place in different[0])
        told = f"first at prompt {row}, token {step}, where the source's choice led by {float(leads[row, step]):.2g}"
        # of 16 bits a rounding may turn a choice; how far a rounding reaches is what the layers say
        entry = {"outcome": DIFFERS if dtype is torch.float32 else NOTED, "detail": told}
    say({"call": "greedy tokens", "dtype": str(dtype).removeprefix("torch."), **entry})


def _answers(model: Any, sides: Sides) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens (PROMPTS, TOKENS), and by how much each led over the next best."""
    vocabulary = model.config.get_text_config(decoder=True).vocab_size
    ids = torch.randint(3, vocabulary, (PROMPTS, LENGTH), generator=torch.Generator().manual_seed(5))
    answer = model.generate(
        ids.to(sides.device),
        attention_mask=torch.ones_like(ids).to(sides.device),
        max_new_tokens=TOKENS,
        min_new_tokens=TOKENS,
        do_sample=False,
        return_dict_in_generate=True,
        output_logits=True,
    )
    best = torch.stack(answer.logits, 1).float().topk(2).values.cpu()
    return answer.sequences[:, LENGTH:].cpu(), best[..., 0] - best[..., 1]


def _source_class(port: Port) -> Any:
    found = port.load_source_class()
    if isinstance(found, Refused):
        raise RuntimeError(found.diagnostics[0].message)
    return found


def _load(model_class: Any, folder: Path, sides: Sides) -> Any:
    model = model_class.from_pretrained(folder, dtype="auto").eval()
    if sides.device.type == "npu" and model.dtype is torch.float32:
        model = model.to(torch.bfloat16)
    return model.to(sides.device)


def _let_go(sides: Sides) -> None:
    gc.collect()
    if sides.device.type != "cpu":
        getattr(torch, sides.device.type).empty_cache()

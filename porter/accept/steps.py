"""Steps compiled as the runner compiles them, beside the same steps in eager mode, on the device.

Contract: the same tokens go through both, a prompt padded on the left and then one by one, in a static cache; the truth
is the source in float32 on the host, over the whole sequence at once.
"""

from __future__ import annotations

import time
from typing import Any

import torch

from porter.accept.device_model import rehearsed
from porter.accept.errors import beside_source
from porter.accept.model import Small, small_model
from porter.accept.probe import NOT_RUN, Say
from porter.accept.report_probes import At
from porter.runner.clock import wait_for
from porter.runner.graph import CompiledSteps, Steps, allocate
from porter.runtime import NpuPreTrainedModel, StaticKVCache, position_ids_from_mask, tabulate_rotary
from porter.verify.port import Port

ROWS, PROMPT, TOKENS, SLOTS = 4, 9, 8, 32
GROWS = "the port keeps its source's KV cache, which grows: its steps are not compiled"


def compiled_steps(port: Port, at: At, say: Say) -> None:
    """Say an entry for the prefill and one for the decode steps."""
    dtype = torch.bfloat16 if at.sides.device.type == "npu" else torch.float32
    with small_model(port) as small:
        if not issubclass(small.port_class, NpuPreTrainedModel):
            say({"call": "compiled steps", "outcome": NOT_RUN, "detail": GROWS})
            return
        ids, mask = tokens_of(small)
        truth = truth_of_tokens(small, ids, mask)
        model = small.port(dtype).to(at.sides.device)
        asked = (model, ids, mask, at.sides.device)
        with rehearsed(at.sides):
            eager, eager_ms = _through(Steps(model), *asked)
        compiled, compiled_ms = _through(CompiledSteps(Steps(model), at.backend), *asked)
    for name, part, ms in (("prefill", slice(0, 1), None), ("decode", slice(1, None), compiled_ms)):
        entry = beside_source(compiled[:, part], eager[:, part], truth[:, part])
        if ms is not None:
            entry["detail"] = "; ".join(filter(None, (entry["detail"], f"a step in eager mode {eager_ms:.3g} ms")))
        kind = str(dtype).removeprefix("torch.")
        say({"call": f"compiled {name}, left padding", "dtype": kind, **entry, **({"ms": ms} if ms else {})})


def tokens_of(small: Small) -> tuple[torch.Tensor, torch.Tensor]:
    """(ROWS, PROMPT + TOKENS) and its mask, with padding in every second row."""
    vocabulary = small.config.get_text_config(decoder=True).vocab_size
    generator = torch.Generator().manual_seed(11)
    ids = torch.randint(3, vocabulary, (ROWS, PROMPT + TOKENS), generator=generator)
    padding = torch.arange(ROWS) % 2 * 4
    return ids, (torch.arange(PROMPT + TOKENS) >= padding[:, None]).long()


def truth_of_tokens(small: Small, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Logits of the source behind the prompt and behind each token, (ROWS, 1 + TOKENS, V)."""
    source = small.source(torch.float32)
    with torch.no_grad():
        logits = source(input_ids=ids, attention_mask=mask, position_ids=position_ids_from_mask(mask)).logits
    return logits[:, PROMPT - 1 :].float()


def eager_logits(model: Any, ids: torch.Tensor, mask: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Logits behind the prompt and behind each token, (ROWS, 1 + TOKENS, V) on the host, with no graph."""
    return _through(Steps(model), model, ids, mask, device)[0]


def _through(
    steps: Any, model: Any, ids: torch.Tensor, mask: torch.Tensor, device: torch.device
) -> tuple[torch.Tensor, float]:
    """Logits (ROWS, 1 + TOKENS, V) on the host, and milliseconds of the quickest step behind the first."""
    cache = StaticKVCache(model.config, max_cache_len=SLOTS)
    allocate(Steps(model), cache, ROWS)
    tabulate_rotary(model, SLOTS)
    whole = torch.nn.functional.pad(mask, (0, SLOTS - mask.shape[1]), value=1).to(device)
    positions = position_ids_from_mask(mask).to(device)
    ids = ids.to(device)
    found, spent = [], []
    with torch.no_grad():
        found.append(steps.prefill(ids[:, :PROMPT].clone(), whole, positions[:, :PROMPT].clone(), cache).cpu())
        for index in range(PROMPT, PROMPT + TOKENS):
            token, place = (each[:, index : index + 1].clone() for each in (ids, positions))
            started = time.perf_counter()
            logits = steps.decode(token, whole, place, cache)
            wait_for(device)
            spent.append(time.perf_counter() - started)
            found.append(logits.cpu())
    return torch.stack(found, 1), round(1000 * min(spent[1:]), 4)

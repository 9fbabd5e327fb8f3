"""Parity of steps: greedy tokens, prompts in pieces, the end of the cache, the sliding window. Each takes a Pair, fp32.

Contract: tokens are compared one by one; where two differ, the detail says how far apart the source's best two logits
were. Logits of cached steps have the limit of single calls.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from transformers.cache_utils import DynamicCache

from porter.runtime import CacheFull, StaticKVCache
from porter.runtime.cache_name import returned_cache, with_cache
from porter.verify.finding import Measured
from porter.verify.forward import LENGTHS, LIMIT, UNIT
from porter.verify.pair import NotApplicable, Pair, relative

STEPS = 64
SLOTS = 12


def greedy(pair: Pair) -> Measured:
    return _same_tokens(pair, {"input_ids": pair.prompts(1, 7), "attention_mask": torch.ones(1, 7).long()}, STEPS)


def greedy_batch(pair: Pair) -> Measured:
    batch = pair.padded(LENGTHS)
    return _same_tokens(pair, {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}, STEPS)


def greedy_without_cache(pair: Pair) -> Measured:
    asked = {"input_ids": pair.prompts(1, 4), "attention_mask": torch.ones(1, 4).long(), "use_cache": False}
    return _same_tokens(pair, asked, 16)


def one_token(pair: Pair) -> Measured:
    return _same_tokens(pair, {"input_ids": pair.prompts(2, 1), "attention_mask": torch.ones(2, 1).long()}, 16)


def chunked_prefill(pair: Pair) -> Measured:
    sizes = (5, 4, 1, 3)
    return _cached_steps(pair, sizes, None, f"chunks of {', '.join(map(str, sizes))} tokens")


def padded_chunks(pair: Pair) -> Measured:
    """A padded batch in pieces: the mask spans the cache and the new tokens."""
    pair.needs("position_ids")
    batch = pair.padded((13, 8, 5))

    def ask(model: Any) -> torch.Tensor:
        past, seen = None, []
        for start, end in ((0, 9), (9, 12), (12, 13)):
            mask = batch["attention_mask"][:, :end]
            ids, positions = batch["input_ids"][:, start:end], batch["position_ids"][:, start:end]
            given = {"attention_mask": mask, "position_ids": positions, **with_cache(model, past)}
            output = model(ids, **given, use_cache=True)
            past = returned_cache(output)
            seen.append(output.logits[mask[:, start:end].bool()])
        return torch.cat(seen)

    source, port = pair.both(ask)
    return Measured(relative(port, source), LIMIT, UNIT, "chunks of 9, 3, 1 tokens")


def last_slot(pair: Pair) -> Measured:
    """Steps up to the last slot compute what the source does."""
    if not pair.static:
        raise NotApplicable("the port keeps transformers' own cache, which grows")
    return _cached_steps(pair, (SLOTS - 3, 1, 1, 1), SLOTS, f"{SLOTS} slots, all written")


def past_the_last_slot(pair: Pair) -> Measured:
    """One token more is a clear error, writes nothing, and the cache still serves."""
    if not pair.static:
        raise NotApplicable("the port keeps transformers' own cache, which grows")
    ids = pair.prompts(1, SLOTS + 1)
    cache = StaticKVCache(pair.config, max_cache_len=SLOTS)
    with torch.no_grad():
        pair.port(ids[:, :SLOTS], **with_cache(pair.port, cache))
        written = [layer.keys.clone() for layer in cache.layers if getattr(layer, "is_initialized", False)]
        try:
            pair.port(ids[:, SLOTS:], **with_cache(pair.port, cache))
        except CacheFull as error:
            now = [layer.keys for layer in cache.layers if getattr(layer, "is_initialized", False)]
            spoiled = sum(not torch.equal(a, b) for a, b in zip(written, now, strict=True))
            return Measured(float(spoiled), 0.0, "layers written", f"CacheFull: {error}"[:120])
    return Measured(1.0, 0.0, "layers written", f"token {SLOTS + 1} of {SLOTS} slots was taken without a word")


def past_the_window(pair: Pair) -> Measured:
    """A prompt longer than the window, then steps; the window must matter here, or nothing was checked."""
    if pair.window is None:
        raise NotApplicable("no layer has a sliding window")
    length = 2 * pair.window + 3
    found = _cached_steps(pair, (length, 1, 1, 1), None, "")
    config = copy.deepcopy(pair.config)
    config.get_text_config(decoder=True).sliding_window = 10**6
    unbounded = type(pair.source)._from_config(config).eval()
    unbounded.load_state_dict(pair.source.state_dict())
    ids = pair.prompts(1, length)
    with torch.no_grad():
        effect = relative(unbounded(ids).logits[:, -1], pair.source(ids).logits[:, -1])
    if effect < 100 * LIMIT:
        return Measured(float("inf"), LIMIT, UNIT, f"a window of {pair.window} moves these logits by {effect:.1e} only")
    detail = f"window {pair.window}, prompt {length}; without the window off by {effect:.2f}"
    return Measured(found.figure, LIMIT, UNIT, detail)


def _cached_steps(pair: Pair, sizes: tuple[int, ...], slots: int | None, detail: str) -> Measured:
    """One sequence in pieces through a cache of the model's own kind, or of `slots` slots."""
    ids = pair.prompts(2, sum(sizes))

    def ask(model: Any) -> torch.Tensor:
        past: Any = None
        if slots is not None:
            fixed = model is pair.port
            past = StaticKVCache(pair.config, max_cache_len=slots) if fixed else DynamicCache(config=pair.config)
        seen = []
        for piece in ids.split(list(sizes), dim=1):
            output = model(piece, **with_cache(model, past), use_cache=True)
            past = returned_cache(output)
            seen.append(output.logits)
        return torch.cat(seen, dim=1)

    source, port = pair.both(ask)
    return Measured(relative(port, source), LIMIT, UNIT, detail)


def _same_tokens(pair: Pair, asked: dict[str, Any], steps: int) -> Measured:
    def ask(model: Any) -> Any:
        return model.generate(
            **asked,
            max_new_tokens=steps,
            min_new_tokens=steps,
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=True,
        )

    source, port = pair.both(ask)
    if source.sequences.shape != port.sequences.shape:
        shapes = f"{tuple(port.sequences.shape)}, the source {tuple(source.sequences.shape)}"
        return Measured(float("inf"), 0.0, "tokens differ", shapes)
    different = source.sequences != port.sequences
    best = torch.stack(source.logits).topk(2).values  # (steps, B, 2)
    margins = best[..., 0] - best[..., 1]
    rows = f"{source.sequences.shape[0]} x {steps} tokens, {len(source.sequences.unique())} kinds"
    detail = f"{rows}, closest choice {float(margins.min()):.1e}"
    if bool(different.any()):
        row, column = (int(x) for x in different.nonzero()[0])
        step = column - (source.sequences.shape[1] - steps)
        detail = f"first at row {row}, step {step}, where the source's choice led by {float(margins[step, row]):.1e}"
    return Measured(float(different.sum()), 0.0, "tokens differ", detail)


CHECKS = {
    "greedy tokens": greedy,
    "left padding: greedy tokens": greedy_batch,
    "without cache: greedy tokens": greedy_without_cache,
    "prompt of one token": one_token,
    "chunked prefill": chunked_prefill,
    "left padding: chunked prefill": padded_chunks,
    "to the last slot": last_slot,
    "past the last slot": past_the_last_slot,
    "past the sliding window": past_the_window,
}

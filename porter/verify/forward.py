"""Parity of single calls: logits, hidden states, keys and values, loss. Each check takes a Pair, in fp32.

Contract: compared at real positions only, as what stands at padding is read by nobody; figures are the largest
difference as a share of the truth's largest magnitude, limit 1e-5. No machine's order of summing comes near it: a tiny
configuration has some 1,000 roundings in a row, n of which lead a random walk to the root of n half-ulps, 2e-6, and
ports come out at 5e-7; what a rule could get wrong in the least, one rounding to 16 bits, is 5e-4.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import DynamicCache

from porter.runtime import StaticKVCache
from porter.runtime.cache_name import returned_cache, with_cache
from porter.verify.finding import Measured
from porter.verify.pair import NotApplicable, NpuOps, Pair, relative

LIMIT = 1e-5
UNIT = "of the scale"
LENGTHS = (11, 6, 1)  # of the prompts in a batch


def logits(pair: Pair) -> Measured:
    source, port = pair.both(lambda model: model(pair.prompts(2, 11)).logits)
    return Measured(relative(port, source), LIMIT, UNIT)


def npu_ops(pair: Pair) -> Measured:
    """The port runs NPU ops and the source does not: two copies of one model would agree on everything."""
    with torch.no_grad(), NpuOps() as source:
        pair.source(pair.prompts(1, 5))
    with torch.no_grad(), NpuOps() as port:
        pair.port(pair.prompts(1, 5))
    return Measured(float(bool(source.calls) or not port.calls), 0.0, "wrong sides", str(port) or "none")


def padded_logits(pair: Pair) -> Measured:
    batch = pair.padded(LENGTHS)
    real = batch["attention_mask"].bool()
    source, port = pair.both(lambda model: model(**batch).logits[real])
    return Measured(relative(port, source), LIMIT, UNIT, f"prompts of {', '.join(map(str, LENGTHS))} tokens")


def embedded_inputs(pair: Pair) -> Measured:
    pair.needs("inputs_embeds")
    ids = pair.prompts(2, 7)
    embeds = pair.source.get_input_embeddings()(ids).detach()
    source, port = pair.both(lambda model: model(inputs_embeds=embeds).logits)
    return Measured(relative(port, source), LIMIT, UNIT)


def last_logits(pair: Pair) -> Measured:
    pair.needs("logits_to_keep")
    source, port = pair.both(lambda model: model(pair.prompts(2, 7), logits_to_keep=1).logits)
    return Measured(relative(port, source), LIMIT, UNIT, f"{port.shape[1]} position")


def hidden_states(pair: Pair) -> Measured:
    pair.needs("output_hidden_states")
    batch = pair.padded(LENGTHS)
    real = batch["attention_mask"].bool()
    source, port = pair.both(lambda model: model(**batch, output_hidden_states=True).hidden_states)
    if source is None:
        raise NotApplicable("the source returns no hidden states")
    if port is None or len(port) != len(source):
        return Measured(float("inf"), LIMIT, UNIT, f"{len(port or ())} hidden states, the source has {len(source)}")
    worst = max(relative(mine[real], theirs[real]) for mine, theirs in zip(port, source, strict=True))
    return Measured(worst, LIMIT, UNIT, f"{len(source)} states")


def keys_and_values(pair: Pair) -> Measured:
    batch = pair.padded(LENGTHS)
    real = batch["attention_mask"].bool()
    source, port = pair.both(lambda model: returned_cache(model(**batch, use_cache=True)))
    worst, layers = 0.0, 0
    for theirs, mine in zip(source.layers, port.layers, strict=True):
        if not isinstance(getattr(theirs, "keys", None), torch.Tensor):
            continue
        kept = theirs.keys.shape[2]  # a sliding layer of the source keeps the last positions only
        window = real[:, -kept:]
        for name in ("keys", "values"):
            states = getattr(mine, name)
            if not isinstance(port, StaticKVCache):
                states = states.transpose(1, 2)  # (B, N, S, D) -> (B, S, N, D)
            states = states[:, : real.shape[1]][:, -kept:]
            worst = max(worst, relative(states[window], getattr(theirs, name).transpose(1, 2)[window]))
        layers += 1
    if not layers:
        raise NotApplicable("the source caches no keys and values")
    return Measured(worst, LIMIT, UNIT, f"{layers} layers")


def loss(pair: Pair) -> Measured:
    pair.needs("labels")
    ids = pair.prompts(2, 9)
    labels = ids.masked_fill(torch.arange(9) < 3, -100)
    source, port = pair.both(lambda model: getattr(model(ids, labels=labels), "loss", None))
    if source is None:
        raise NotApplicable("the source computes no loss")
    if port is None:
        return Measured(float("inf"), LIMIT, "of the loss", "the port computes none, the source does")
    return Measured(relative(port, source), LIMIT, "of the loss", f"loss {float(source):.4f}")


def without_cache(pair: Pair) -> Measured:
    pair.needs("use_cache")

    def ask(model: Any) -> torch.Tensor:
        output = model(pair.prompts(2, 9), use_cache=False)
        if returned_cache(output) is not None:
            raise AssertionError("use_cache=False returned a cache")
        return output.logits

    source, port = pair.both(ask)
    return Measured(relative(port, source), LIMIT, UNIT)


def attention_weights(pair: Pair) -> Measured:
    """Asked for what the fused kernel cannot give, the port must refuse; where it kept the source's code, agree."""
    pair.needs("output_attentions")
    ids = pair.prompts(1, 5)
    try:
        with torch.no_grad():
            weights = pair.port(ids, output_attentions=True).attentions
    except Exception as error:
        clear = isinstance(error, (ValueError, NotImplementedError)) and "output_attentions" in str(error)
        return Measured(0.0 if clear else 1.0, 0.0, "unclear errors", f"{type(error).__name__}: {error}"[:120])
    with torch.no_grad():
        theirs = pair.source(ids, output_attentions=True).attentions
    if not pair.static and _are_none(weights) and _are_none(theirs):
        return Measured(0.0, 0.0, "unclear errors", "attention is the source's own code: neither returns weights")
    if pair.static or _are_none(weights) or _are_none(theirs):
        return Measured(1.0, 0.0, "unclear errors", "no error, and no attention weights either")
    worst = max(relative(mine, other) for mine, other in zip(weights, theirs, strict=True))
    return Measured(worst, LIMIT, UNIT, "attention is the source's own code: it returns its weights")


def _are_none(weights: Any) -> bool:
    return not weights or weights[0] is None


def foreign_cache(pair: Pair) -> Measured:
    """A cache in another layout is refused, not written."""
    if not pair.static:
        raise NotApplicable("the port keeps transformers' own cache")
    try:
        with torch.no_grad():
            pair.port(pair.prompts(1, 3), **with_cache(pair.port, DynamicCache(config=pair.config)))
    except TypeError as error:
        return Measured(0.0, 0.0, "caches taken", f"TypeError: {error}"[:120])
    return Measured(1.0, 0.0, "caches taken", "a DynamicCache was taken without a word")


CHECKS = {
    "NPU ops run": npu_ops,
    "fp32 logits": logits,
    "left padding: logits": padded_logits,
    "hidden states": hidden_states,
    "keys and values": keys_and_values,
    "loss": loss,
    "without cache": without_cache,
    "inputs_embeds": embedded_inputs,
    "last logits only": last_logits,
    "attention weights": attention_weights,
    "foreign cache": foreign_cache,
}

"""Positions counted in a mask of ones -> the numbers themselves

Why:      the ones are as long as the cache is full, which a captured step reads from the device: with them there is no
          graph.
Numerics: exact: whole numbers.
Contract: what else takes the ones takes the positions too, and reads no mask then: the embedding's class must be one of
          `positions_learned`. What makes the layers' masks takes no mask for ones.
"""

import torch

from porter.rule import Edit, Rule

rule = Rule(
    edits=(Edit(site="model.forward", unit="statements", answers=("kernel",)),),
    attributes=("embed_positions",),
    requires={"embed_positions": "positions"},
)


def before(self, mask, seen, states, positions):
    known = mask
    if known is None:
        length = seen + states.shape[1]
        known = torch.ones(states.shape[0], length, device=states.device)
    if positions is None:
        positions = torch.cumsum(known, dim=1)
        positions = (positions * known - 1).long()
        positions = positions[:, seen:]
    ...
    embedded = self.embed_positions(known, seen, position_ids=positions)


def after(self, mask, seen, states, positions):
    known = mask
    if known is None and positions is None:
        positions = torch.arange(states.shape[1], device=states.device) + seen
        positions = positions.expand(states.shape[0], -1)
    if positions is None:
        positions = torch.cumsum(known, dim=1)
        positions = (positions * known - 1).long()
        positions = positions[:, seen:]
    ...
    embedded = self.embed_positions(known, seen, position_ids=positions)


def before__handed_on(self, make, mask, seen, batch, count, states, cache, positions):
    if mask is None:
        length = seen + count
        mask = torch.ones(batch, length, device=states.device)
    ...
    masked = make(config=self.config, inputs_embeds=states, attention_mask=mask, past_key_values=cache)
    ...
    if positions is None:
        positions = torch.arange(count, device=states.device) + seen
        positions = positions.unsqueeze(0)
    ...
    embedded = self.embed_positions(mask, seen, position_ids=positions)


def after__handed_on(self, make, mask, seen, batch, count, states, cache, positions):
    ...
    masked = make(
        config=self.config,
        inputs_embeds=states,
        attention_mask=mask,
        past_key_values=cache,
    )
    ...
    if positions is None:
        positions = torch.arange(count, device=states.device) + seen
        positions = positions.unsqueeze(0)
    ...
    embedded = self.embed_positions(mask, seen, position_ids=positions)


def not_without_positions_behind(self, mask, seen, states, positions):
    """The ones are handed on alone: what takes them counts in them."""
    known = mask
    if known is None:
        length = seen + states.shape[1]
        known = torch.ones(states.shape[0], length, device=states.device)
    if positions is None:
        positions = torch.cumsum(known, dim=1)
        positions = (positions * known - 1).long()
        positions = positions[:, seen:]
    embedded = self.embed_positions(known, seen)


def _given(draw):
    def look_up(known, seen, position_ids):
        return position_ids * 2

    positions = torch.arange(7)[None].expand(2, 7) if draw.choice((True, False)) else None
    mask = torch.ones(2, 7) if draw.choice((True, False)) else None
    return draw.module(embed_positions=look_up), mask, 0, draw.normal(2, 7, 8), positions


def _handed_on(draw):
    """The same, of a model whose mask of ones goes to what makes the mask of its layers: that takes none for ones."""

    def make(config, inputs_embeds, attention_mask, past_key_values):
        return torch.ones(inputs_embeds.shape[:2]) if attention_mask is None else attention_mask

    self, mask, seen, states, positions = _given(draw)
    self.config = None
    return self, make, mask, seen, *states.shape[:2], states, None, positions


def _seen(found):
    return found["masked"], found["embedded"]


def proof_before(draw):
    return before(*_given(draw))["embedded"], _seen(before__handed_on(*_handed_on(draw)))


def proof_after(draw):
    return after(*_given(draw))["embedded"], _seen(after__handed_on(*_handed_on(draw)))

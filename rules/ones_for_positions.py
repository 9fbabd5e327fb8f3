"""Positions counted in a mask of ones -> the numbers themselves

Why:      the ones are as long as the cache is full, which a captured step reads from the device: with them there is no
          graph.
Numerics: exact: whole numbers.
Contract: what else takes the ones takes the positions too, and reads no mask then: the embedding's class must be one of
          `positions_learned`.
"""

import torch

from porter.rule import Edit, Rule

rule = Rule(
    edits=(Edit(site="model.forward", unit="statements", private=("length",)),),
    answers=("kernel",),
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


def proof_before(draw):
    return before(*_given(draw))["embedded"]


def proof_after(draw):
    return after(*_given(draw))["embedded"]

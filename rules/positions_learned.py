"""Positions that are learned -> as they are: one look-up

Why:      a look-up in a table is one kernel. A mask is read only where no positions are given.
Numerics: the source's own.
Contract: none.
"""

import torch

from porter.rule import Edit, Rule

rule = Rule(edits=(Edit(site="*.forward", unit="function", answers=("positions",)),))


def before(self, mask, seen, positions):
    """a look-up; the mask is read only where no positions are given"""
    if positions is None:
        positions = torch.cumsum(mask, dim=1)
        positions = (positions * mask - 1).long()
        positions = positions[:, seen:]
    return super().forward(positions + self.offset)


def not_always_counted(self, mask, seen, positions):
    """The mask is read, whatever positions are given."""
    positions = torch.cumsum(mask, dim=1)
    positions = (positions * mask - 1).long()
    positions = positions[:, seen:]
    return super().forward(positions + self.offset)

"""Experts with a gate, asked one after another in a loop over those that were hit; and such loops that compute
something else. Which activation gates them is for the rule to say.
"""

import torch
from torch import nn

from porter.rule import Argument


# `classes`: a one-hot code has room for every expert, or fails. transformers 5.16 gives it that room, 5.18 one more.
def before_forward(self, tokens: Argument, chosen: Argument, shares: Argument, classes=5):
    output = torch.zeros_like(tokens)
    with torch.no_grad():
        mask = torch.nn.functional.one_hot(chosen, num_classes=classes)
        mask = mask.permute(2, 1, 0)
        hit = torch.greater(mask.sum(dim=(-1, -2)), 0).nonzero()
    for expert in hit:
        expert = expert[0]
        if expert == self.num_experts:
            continue
        place, token = torch.where(mask[expert])
        current = tokens[token]
        gate, up = nn.functional.linear(current, self.gate_up_proj[expert]).chunk(2, dim=-1)
        inner = self.act_fn(gate) * up
        inner = nn.functional.linear(inner, self.down_proj[expert])
        inner = inner * shares[token, place, None]
        output.index_add_(0, token, inner.to(output.dtype))
    return output


def not_forward_without_a_gate(self, tokens, chosen, shares):
    """One projection and its activation: nothing is gated."""
    output = torch.zeros_like(tokens)
    with torch.no_grad():
        mask = torch.nn.functional.one_hot(chosen, num_classes=self.num_experts + 1)
        mask = mask.permute(2, 1, 0)
        hit = torch.greater(mask.sum(dim=(-1, -2)), 0).nonzero()
    for expert in hit:
        expert = expert[0]
        if expert == self.num_experts:
            continue
        place, token = torch.where(mask[expert])
        current = tokens[token]
        inner = nn.functional.linear(current, self.up_proj[expert])
        inner = self.act_fn(inner)
        inner = nn.functional.linear(inner, self.down_proj[expert])
        inner = inner * shares[token, place, None]
        output.index_add_(0, token, inner.to(output.dtype))
    return output


def not_forward_with_the_gate_last(self, tokens, chosen, shares):
    """The kernels activate the first half."""
    output = torch.zeros_like(tokens)
    with torch.no_grad():
        mask = torch.nn.functional.one_hot(chosen, num_classes=self.num_experts + 1)
        mask = mask.permute(2, 1, 0)
        hit = torch.greater(mask.sum(dim=(-1, -2)), 0).nonzero()
    for expert in hit:
        expert = expert[0]
        if expert == self.num_experts:
            continue
        place, token = torch.where(mask[expert])
        current = tokens[token]
        up, gate = nn.functional.linear(current, self.gate_up_proj[expert]).chunk(2, dim=-1)
        inner = self.act_fn(gate) * up
        inner = nn.functional.linear(inner, self.down_proj[expert])
        inner = inner * shares[token, place, None]
        output.index_add_(0, token, inner.to(output.dtype))
    return output


def not_forward_weighted_before(self, tokens, chosen, shares):
    """A share of the input is no share of the output: the activation is between."""
    output = torch.zeros_like(tokens)
    with torch.no_grad():
        mask = torch.nn.functional.one_hot(chosen, num_classes=self.num_experts + 1)
        mask = mask.permute(2, 1, 0)
        hit = torch.greater(mask.sum(dim=(-1, -2)), 0).nonzero()
    for expert in hit:
        expert = expert[0]
        if expert == self.num_experts:
            continue
        place, token = torch.where(mask[expert])
        current = tokens[token] * shares[token, place, None]
        gate, up = nn.functional.linear(current, self.gate_up_proj[expert]).chunk(2, dim=-1)
        inner = self.act_fn(gate) * up
        inner = nn.functional.linear(inner, self.down_proj[expert])
        output.index_add_(0, token, inner.to(output.dtype))
    return output

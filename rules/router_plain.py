"""Routers that no op computes -> as they are

Why:      npu_moe_gating_top_k adds its bias to the sigmoids of the logits, not to the logits: another choice. A choice
          of two experts one after the other, each among those close to the best, has no op at all. The op compares
          scores in fp32: where the source compares them as 16 bits round them, many are equal and others are chosen.
Numerics: the source's own.
Contract: none. What such a router chooses are int64 indices, which the experts cast.
"""

import torch
from torch.nn import functional as F

from porter.rule import Edit, Rule

rule = Rule(edits=(Edit(site="router.forward", unit="statements", answers=("router",)),))


def before__biased_logits(self, logits):
    """no op chooses by logits with a bias: npu_moe_gating_top_k adds it to their sigmoids"""
    chosen = torch.topk(logits + self.e_score_correction_bias, self.top_k, dim=-1)[1]
    shares = logits.gather(1, chosen).sigmoid()
    if self.norm_topk_prob:
        shares = shares / shares.sum(dim=-1, keepdim=True)
    return logits, shares, chosen


def before__sparse_mixer(self, tokens):
    """no op chooses one expert after the other, each among those close to the best"""
    logits = super().forward(tokens)
    shares, chosen = sparsemixer(logits, jitter_eps=..., training=self.training, top_k=self.top_k)  # noqa: F821
    return logits, shares, chosen


def before__rounded_scores(self, x):
    """scores are compared as the model's dtype rounds them, which no op does: npu_moe_gating_top_k compares fp32"""
    logits = F.linear(x, self.weight)
    scores = logits.softmax(-1)
    groups = scores.view(-1, self.num_group, self.num_experts // self.num_group).topk(2, dim=-1)[0].sum(dim=-1)
    picked = torch.topk(groups, k=self.topk_group, dim=-1, sorted=False)[1]
    mask = torch.zeros_like(groups)
    mask.scatter_(1, picked, 1)
    allowed = (
        mask.unsqueeze(-1)
        .expand(-1, self.num_group, self.num_experts // self.num_group)
        .reshape(-1, self.num_experts)
    )
    compared = scores.masked_fill(~allowed.bool(), 0.0)
    chosen = torch.topk(compared, k=self.top_k, dim=-1, sorted=False)[1]
    shares = scores.gather(1, chosen)
    if self.norm_topk_prob:
        total = shares.sum(dim=-1, keepdim=True) + 1e-20
        shares /= total
    shares = shares * self.routed_scaling_factor
    return logits, shares, chosen


def not_biased_sigmoids(self, logits, bias):
    """npu_moe_gating_top_k computes this."""
    scores = torch.sigmoid(logits)
    _, chosen = torch.topk(scores + bias, self.top_k, dim=-1)
    shares = scores.gather(1, chosen)
    shares = shares / (shares.sum(dim=-1, keepdim=True) + 1e-20)
    return logits, shares, chosen


def not_of_logits_as_they_are(self, logits):
    """A choice without a bias is that of npu_moe_gating_top_k too."""
    chosen = torch.topk(logits, self.top_k, dim=-1)[1]
    shares = logits.gather(1, chosen).sigmoid()
    if self.norm_topk_prob:
        shares = shares / shares.sum(dim=-1, keepdim=True)
    return logits, shares, chosen


def not_of_groups_in_float32(self, x):
    """What npu_moe_gating_top_k compares."""
    logits = F.linear(x.to(torch.float32), self.weight.to(torch.float32))
    scores = logits.softmax(-1)
    groups = scores.view(-1, self.num_group, self.num_experts // self.num_group).topk(2, dim=-1)[0].sum(dim=-1)
    picked = torch.topk(groups, k=self.topk_group, dim=-1, sorted=False)[1]
    mask = torch.zeros_like(groups)
    mask.scatter_(1, picked, 1)
    allowed = (
        mask.unsqueeze(-1)
        .expand(-1, self.num_group, self.num_experts // self.num_group)
        .reshape(-1, self.num_experts)
    )
    compared = scores.masked_fill(~allowed.bool(), 0.0)
    chosen = torch.topk(compared, k=self.top_k, dim=-1, sorted=False)[1]
    shares = scores.gather(1, chosen)
    if self.norm_topk_prob:
        total = shares.sum(dim=-1, keepdim=True) + 1e-20
        shares /= total
    shares = shares * self.routed_scaling_factor
    return logits, shares, chosen

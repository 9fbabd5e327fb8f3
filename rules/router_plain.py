"""Routers that no op computes -> as they are

Why:      npu_moe_gating_top_k adds its bias to the sigmoids of the logits, not to the logits: another choice. A choice
          of two experts one after the other, each among those close to the best, has no op at all.
Numerics: the source's own.
Contract: none. What such a router chooses are int64 indices, which the experts cast.
"""

import torch

from porter.rule import Edit, Rule

rule = Rule(edits=(Edit(site="router.forward", unit="statements"),), answers=("router",))


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

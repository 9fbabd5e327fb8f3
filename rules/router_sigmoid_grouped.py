"""Sigmoid of each expert, a bias on the choice, the best groups and the best in them -> npu_moe_gating_top_k

Why:      one kernel for up to eighteen small ones, and indices that the experts take without a cast.
Numerics: as `router_sigmoid`.
Contract: as `router_sigmoid`. A group counts by the sum of its two best; groups hold more than two experts.
"""

import torch
from torch.nn import functional as F

from porter.npu import torch_npu
from porter.rule import Edit, Rule
from porter.verify.routing import shares_by_expert, sigmoid_router

rule = Rule(
    edits=(
        Edit(site="router.forward", unit="statements", answers=("router",), returned={"chosen": ("experts", "moe")}),
    ),
)


def before(self, x):
    logits = F.linear(x.to(torch.float32), self.weight.to(torch.float32))
    scores = logits.sigmoid()
    biased = scores + self.e_score_correction_bias
    groups = (
        biased.view(-1, self.num_group, self.num_experts // self.num_group)
        .topk(2, dim=-1)[0]
        .sum(dim=-1)
    )
    picked = torch.topk(groups, k=self.topk_group, dim=-1, sorted=False)[1]
    mask = torch.zeros_like(groups)
    mask.scatter_(1, picked, 1)
    allowed = (
        mask.unsqueeze(-1)
        .expand(-1, self.num_group, self.num_experts // self.num_group)
        .reshape(-1, self.num_experts)
    )
    biased = biased.masked_fill(~allowed.bool(), float("-inf"))
    chosen = torch.topk(biased, k=self.top_k, dim=-1, sorted=False)[1]
    shares = scores.gather(1, chosen)
    if self.norm_topk_prob:
        total = shares.sum(dim=-1, keepdim=True) + 1e-20
        shares /= total
    shares = shares * self.routed_scaling_factor
    return logits, shares, chosen


def after(self, x):
    logits = F.linear(x.to(torch.float32), self.weight.to(torch.float32))
    shares, chosen, plain = torch_npu.npu_moe_gating_top_k(
        logits,
        self.top_k,
        bias=self.e_score_correction_bias.to(logits.dtype),
        k_group=self.topk_group,
        group_count=self.num_group,
        group_select_mode=1,
        norm_type=1,
        out_flag=not self.norm_topk_prob,
        routed_scaling_factor=self.routed_scaling_factor,
    )
    if not self.norm_topk_prob:
        shares = plain.gather(1, chosen.long()) * self.routed_scaling_factor
    return logits, shares, chosen


def before__unscaled(self, x):
    logits = F.linear(x.to(torch.float32), self.weight.to(torch.float32))
    scores = logits.sigmoid()
    biased = scores + self.e_score_correction_bias
    groups = (
        biased.view(-1, self.num_group, self.num_experts // self.num_group)
        .topk(2, dim=-1)[0]
        .sum(dim=-1)
    )
    picked = torch.topk(groups, k=self.topk_group, dim=-1, sorted=False)[1]
    mask = torch.zeros_like(groups)
    mask.scatter_(1, picked, 1)
    allowed = (
        mask.unsqueeze(-1)
        .expand(-1, self.num_group, self.num_experts // self.num_group)
        .reshape(-1, self.num_experts)
    )
    biased = biased.masked_fill(~allowed.bool(), float("-inf"))
    chosen = torch.topk(biased, k=self.top_k, dim=-1, sorted=False)[1]
    shares = scores.gather(1, chosen)
    if self.norm_topk_prob:
        shares /= shares.sum(dim=-1, keepdim=True) + 1e-20
    return logits, shares, chosen


def after__unscaled(self, x):
    logits = F.linear(x.to(torch.float32), self.weight.to(torch.float32))
    shares, chosen, plain = torch_npu.npu_moe_gating_top_k(
        logits,
        self.top_k,
        bias=self.e_score_correction_bias.to(logits.dtype),
        k_group=self.topk_group,
        group_count=self.num_group,
        group_select_mode=1,
        norm_type=1,
        out_flag=not self.norm_topk_prob,
    )
    if not self.norm_topk_prob:
        shares = plain.gather(1, chosen.long())
    return logits, shares, chosen


def not_by_the_best_of_a_group(self, x):
    """A group counts by its two best."""
    logits = F.linear(x.to(torch.float32), self.weight.to(torch.float32))
    scores = logits.sigmoid()
    biased = scores + self.e_score_correction_bias
    groups = (
        biased.view(-1, self.num_group, self.num_experts // self.num_group)
        .topk(1, dim=-1)[0]
        .sum(dim=-1)
    )
    picked = torch.topk(groups, k=self.topk_group, dim=-1, sorted=False)[1]
    mask = torch.zeros_like(groups)
    mask.scatter_(1, picked, 1)
    allowed = (
        mask.unsqueeze(-1)
        .expand(-1, self.num_group, self.num_experts // self.num_group)
        .reshape(-1, self.num_experts)
    )
    biased = biased.masked_fill(~allowed.bool(), float("-inf"))
    chosen = torch.topk(biased, k=self.top_k, dim=-1, sorted=False)[1]
    shares = scores.gather(1, chosen)
    if self.norm_topk_prob:
        total = shares.sum(dim=-1, keepdim=True) + 1e-20
        shares /= total
    shares = shares * self.routed_scaling_factor
    return logits, shares, chosen


def proof_before(draw):
    self, x = sigmoid_router(draw)
    return shares_by_expert([before(self, x), before__unscaled(self, x)])


def proof_after(draw):
    self, x = sigmoid_router(draw)
    return shares_by_expert([after(self, x), after__unscaled(self, x)])

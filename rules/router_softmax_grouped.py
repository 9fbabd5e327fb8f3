"""Softmax over the experts, the groups of the best, and the best in them -> npu_moe_gating_top_k

Why:      one kernel for up to twelve small ones, and indices that the experts take without a cast.
Numerics: softmax in fp32, as in the source. Shares are not divided by their sum, neither there nor by the op.
Contract: torch_npu.npu_moe_gating_top_k: groups hold more than two experts, and the best groups no fewer than are
          chosen (the source would take others, with shares of 0). Which of two equal scores comes first is not
          documented, as for torch.topk. Indices are int32, so who takes them is changed with the router: the experts
          must be ported, and the block around must do nothing else with them.
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
    scores = logits.softmax(dim=-1, dtype=torch.float32)
    if self.topk_method == "greedy":
        shares, chosen = torch.topk(scores, k=self.top_k, dim=-1, sorted=False)
    elif self.topk_method == "group_limited_greedy":
        groups = scores.view(-1, self.num_group, self.num_experts // self.num_group).max(dim=-1).values
        picked = torch.topk(groups, k=self.topk_group, dim=-1, sorted=False)[1]
        mask = torch.zeros_like(groups)
        mask.scatter_(1, picked, 1)
        allowed = (
            mask.unsqueeze(-1)
            .expand(-1, self.num_group, self.num_experts // self.num_group)
            .reshape(-1, self.num_experts)
        )
        scores = scores.masked_fill(~allowed.bool(), 0.0)
        shares, chosen = torch.topk(scores, k=self.top_k, dim=-1, sorted=False)
    shares = shares * self.routed_scaling_factor
    return logits, shares, chosen


def after(self, x):
    logits = F.linear(x.to(torch.float32), self.weight.to(torch.float32))
    if self.topk_method == "greedy":
        shares, chosen, _ = torch_npu.npu_moe_gating_top_k(
            logits, self.top_k, routed_scaling_factor=self.routed_scaling_factor
        )
    elif self.topk_method == "group_limited_greedy":
        shares, chosen, _ = torch_npu.npu_moe_gating_top_k(
            logits,
            self.top_k,
            k_group=self.topk_group,
            group_count=self.num_group,
            routed_scaling_factor=self.routed_scaling_factor,
        )
    return logits, shares, chosen


def not_by_the_two_best_of_a_group(self, x):
    """A group counts by its best."""
    logits = F.linear(x.to(torch.float32), self.weight.to(torch.float32))
    scores = logits.softmax(dim=-1, dtype=torch.float32)
    if self.topk_method == "greedy":
        shares, chosen = torch.topk(scores, k=self.top_k, dim=-1, sorted=False)
    elif self.topk_method == "group_limited_greedy":
        groups = scores.view(-1, self.num_group, self.num_experts // self.num_group).topk(2, dim=-1)[0].sum(dim=-1)
        picked = torch.topk(groups, k=self.topk_group, dim=-1, sorted=False)[1]
        mask = torch.zeros_like(groups)
        mask.scatter_(1, picked, 1)
        allowed = (
            mask.unsqueeze(-1)
            .expand(-1, self.num_group, self.num_experts // self.num_group)
            .reshape(-1, self.num_experts)
        )
        scores = scores.masked_fill(~allowed.bool(), 0.0)
        shares, chosen = torch.topk(scores, k=self.top_k, dim=-1, sorted=False)
    shares = shares * self.routed_scaling_factor
    return logits, shares, chosen


def not_in_the_dtype_of_the_model(self, x):
    """Probabilities rounded to 16 bits tie where those of the op do not: another choice."""
    logits = F.linear(x, self.weight)
    scores = logits.softmax(dim=-1)
    if self.topk_method == "greedy":
        shares, chosen = torch.topk(scores, k=self.top_k, dim=-1, sorted=False)
    shares = shares * self.routed_scaling_factor
    return logits, shares, chosen


def _runs(draw, side):
    self, x = sigmoid_router(draw)
    self.topk_method = "greedy" if self.num_group == 1 else draw.choice(("greedy", "group_limited_greedy"))
    return shares_by_expert([side(self, x)])


def proof_before(draw):
    return _runs(draw, before)


def proof_after(draw):
    return _runs(draw, after)

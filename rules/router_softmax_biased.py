"""Softmax over the experts, and the best of them with a bias on the choice -> npu_moe_gating_top_k

Why:      one kernel for softmax, bias, top-k and gather, and indices that the experts take without a cast.
Numerics: softmax in fp32, as in the source. What the shares are divided by, and their cast, stay the source's.
Contract: torch_npu.npu_moe_gating_top_k does not divide the shares of a softmax. bias in the dtype of the logits. More
          than two experts. Which of two equal scores comes first is not documented, as for torch.topk. Indices are
          int32, so who takes them is changed with the router: the experts must be ported, and the block around must do
          nothing else with them.
"""

import torch
from torch import nn
from torch.nn import functional as F

from porter.npu import torch_npu
from porter.rule import Edit, Rule

rule = Rule(
    edits=(
        Edit(site="router.forward", unit="statements", answers=("router",), returned={"chosen": ("experts", "moe")}),
    ),
    attributes=("statics",),
    requires={"statics": "bias"},
)


def before(self, x, k):
    logits = F.linear(x.to(torch.float32), self.weight.to(torch.float32))
    scores = F.softmax(logits, dim=1, dtype=torch.float)
    _, chosen = torch.topk(self.statics(scores), k, dim=-1)
    shares = torch.gather(scores, dim=-1, index=chosen)


def after(self, x, k):
    logits = F.linear(x.to(torch.float32), self.weight.to(torch.float32))
    shares, chosen, _ = torch_npu.npu_moe_gating_top_k(
        logits,
        k,
        bias=self.statics.e_score_correction_bias.squeeze().to(logits.dtype),
    )


def not_with_shares_of_what_is_biased(self, x, k):
    """The bias is for the choice alone."""
    logits = F.linear(x.to(torch.float32), self.weight.to(torch.float32))
    scores = self.statics(F.softmax(logits, dim=1, dtype=torch.float))
    shares, chosen = torch.topk(scores, k, dim=-1)


def not_of_sigmoids(self, x, k):
    """Another function of the logits."""
    logits = F.linear(x.to(torch.float32), self.weight.to(torch.float32))
    scores = logits.sigmoid()
    _, chosen = torch.topk(self.statics(scores), k, dim=-1)
    shares = torch.gather(scores, dim=-1, index=chosen)


class _Statics(nn.Module):
    def __init__(self, draw):
        super().__init__()
        self.e_score_correction_bias = nn.Parameter(draw.uniform(1, 16, high=0.2), requires_grad=False)

    def forward(self, x):
        return x + self.e_score_correction_bias.squeeze()


def proof(draw):
    self = draw.module(weight=torch.eye(16, dtype=draw.dtype), statics=_Statics(draw))
    return dict(self=self, x=draw.normal(7, 16, scale=2.0), k=draw.choice((1, 2, 4)))

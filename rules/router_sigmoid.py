"""Sigmoid of each expert, a bias on the choice or none, the best of all -> npu_moe_gating_top_k

Why:      one kernel for up to eight small ones, and indices that the experts take without a cast.
Numerics: all of it in fp32, as in the source. The op adds 1e-20 to the sum that it divides by: where the source adds
          nothing, fp32 shows that only where all shares are next to nothing (and the source divides by zero).
Contract: torch_npu.npu_moe_gating_top_k always divides sigmoids by their sum: where the configuration asks for plain
          ones, they are taken from the op's third result. bias in the dtype of the logits. Which of two equal scores
          comes first is not documented, as for torch.topk. Indices are int32, so who takes them is changed with the
          router: the experts must be ported, and the block around must do nothing else with them.
"""

import torch
from torch import nn
from torch.nn import functional as F
from transformers.utils.generic import maybe_autocast

from porter.npu import torch_npu
from porter.rule import Edit, Rule
from porter.verify.routing import shares_by_expert, sigmoid_router

rule = Rule(
    edits=(
        Edit(site="router.forward", unit="statements", answers=("router",), returned={"chosen": ("experts", "moe")}),
    ),
)


def before(self, x, bias):
    logits = F.linear(x, self.weight)
    scores = nn.functional.sigmoid(logits.to(torch.float32))
    biased = scores + bias
    _, chosen = torch.topk(biased, self.top_k, dim=-1, sorted=False)
    shares = scores.gather(1, chosen)
    shares /= shares.sum(dim=-1, keepdim=True)


def after(self, x, bias):
    logits = F.linear(x, self.weight)
    shares, chosen, _ = torch_npu.npu_moe_gating_top_k(
        logits.to(torch.float32),
        self.top_k,
        bias=bias.to(torch.float32),
        norm_type=1,
    )


def before__scaled(self, x, bias, factor):
    logits = F.linear(x.to(torch.float32), self.weight.to(torch.float32))
    scores = torch.sigmoid(logits)
    biased = scores + bias
    _, chosen = torch.topk(biased, self.top_k, dim=-1, sorted=False)
    shares = scores.gather(1, chosen)
    shares = shares / (shares.sum(dim=-1, keepdim=True) + 1e-20)
    shares = shares * factor
    return logits, shares, chosen


def after__scaled(self, x, bias, factor):
    logits = F.linear(x.to(torch.float32), self.weight.to(torch.float32))
    shares, chosen, _ = torch_npu.npu_moe_gating_top_k(
        logits,
        self.top_k,
        bias=bias.to(logits.dtype),
        norm_type=1,
        routed_scaling_factor=factor,
    )
    return logits, shares, chosen


def before__of_a_linear(self, x, bias, factor):
    logits = self.gate(x).to(torch.float32)
    scores = torch.sigmoid(logits)
    _, chosen = torch.topk(scores + bias, k=self.top_k, dim=1)
    shares = scores.gather(dim=1, index=chosen)
    total = shares.sum(dim=-1, keepdim=True) + 1e-20
    shares = shares / total
    shares = shares * factor
    return logits, shares, chosen


def after__of_a_linear(self, x, bias, factor):
    logits = self.gate(x).to(torch.float32)
    shares, chosen, _ = torch_npu.npu_moe_gating_top_k(
        logits,
        self.top_k,
        bias=bias.to(logits.dtype),
        norm_type=1,
        routed_scaling_factor=factor,
    )
    return logits, shares, chosen


def before__capped(self, x, dtype):
    logits = F.linear(x, self.weight).to(torch.float32)
    if self.router_logit_softcapping > 0.0:
        logits = torch.tanh(logits / self.router_logit_softcapping) * self.router_logit_softcapping
    scores = torch.sigmoid(logits)
    biased = scores + self.e_score_correction_bias.to(scores.dtype)
    _, chosen = torch.topk(biased, self.top_k, dim=-1)
    shares = scores.gather(-1, chosen)
    shares = shares / shares.sum(dim=-1, keepdim=True)
    shares = shares.to(dtype)
    return logits, shares, chosen


def after__capped(self, x, dtype):
    logits = F.linear(x, self.weight).to(torch.float32)
    if self.router_logit_softcapping > 0.0:
        logits = torch.tanh(logits / self.router_logit_softcapping) * self.router_logit_softcapping
    shares, chosen, _ = torch_npu.npu_moe_gating_top_k(
        logits,
        self.top_k,
        bias=self.e_score_correction_bias.to(logits.dtype),
        norm_type=1,
    )
    shares = shares.to(dtype)
    return logits, shares, chosen


def before__without_a_bias(self, x, device):
    with maybe_autocast(device_type=device, enabled=False):
        logits = F.linear(x.to(torch.float32), self.weight.to(torch.float32))
    shares, chosen = torch.topk(logits.sigmoid(), self.top_k, dim=-1)
    if self.norm_topk_prob:
        shares = shares / shares.sum(dim=-1, keepdim=True)
    return logits, shares, chosen


def after__without_a_bias(self, x, device):
    with maybe_autocast(device_type=device, enabled=False):
        logits = F.linear(x.to(torch.float32), self.weight.to(torch.float32))
    shares, chosen, plain = torch_npu.npu_moe_gating_top_k(
        logits,
        self.top_k,
        norm_type=1,
        out_flag=not self.norm_topk_prob,
    )
    if not self.norm_topk_prob:
        shares = plain.gather(1, chosen.long())
    return logits, shares, chosen


def not_in_the_dtype_of_the_model(self, x, bias):
    """Sigmoids rounded to 16 bits tie where those of the op do not: another choice."""
    logits = F.linear(x, self.weight)
    scores = logits.sigmoid()
    biased = scores + bias
    _, chosen = torch.topk(biased, self.top_k, dim=-1)
    shares = scores.gather(1, chosen)
    shares = shares / (shares.sum(dim=-1, keepdim=True) + 1e-20)
    return logits, shares, chosen


def not_of_what_the_model_computes_in(self, x):
    """Neither are such ones without a bias."""
    logits = F.linear(x, self.weight)
    shares, chosen = torch.topk(logits.sigmoid(), self.top_k, dim=-1)
    if self.norm_topk_prob:
        shares = shares / shares.sum(dim=-1, keepdim=True)
    return logits, shares, chosen


def not_with_a_bias_on_the_logits(self, x):
    """The op adds its bias to the sigmoids."""
    logits = F.linear(x.to(torch.float32), self.weight.to(torch.float32))
    chosen = torch.topk(logits + self.e_score_correction_bias, self.top_k, dim=-1)[1]
    shares = logits.gather(1, chosen).sigmoid()
    shares = shares / shares.sum(dim=-1, keepdim=True)
    return logits, shares, chosen


def not_with_shares_of_what_is_biased(self, x, bias, factor):
    """The bias is for the choice alone."""
    logits = F.linear(x.to(torch.float32), self.weight.to(torch.float32))
    scores = torch.sigmoid(logits)
    biased = scores + bias
    _, chosen = torch.topk(biased, self.top_k, dim=-1)
    shares = biased.gather(1, chosen)
    shares = shares / (shares.sum(dim=-1, keepdim=True) + 1e-20)
    shares = shares * factor
    return logits, shares, chosen


def _runs(draw, of_one_group, scaled, of_a_linear, capped, without_a_bias):
    self, x = sigmoid_router(draw)
    bias, factor = self.e_score_correction_bias, self.routed_scaling_factor
    found = [of_one_group(self, x, bias), scaled(self, x, bias, factor), of_a_linear(self, x, bias, factor)]
    return shares_by_expert([*found, capped(self, x, torch.float32), without_a_bias(self, x, "cpu")])


def proof_before(draw):
    return _runs(draw, before, before__scaled, before__of_a_linear, before__capped, before__without_a_bias)


def proof_after(draw):
    return _runs(draw, after, after__scaled, after__of_a_linear, after__capped, after__without_a_bias)

"""Softmax over the experts, then the best of them -> npu_moe_gating_top_k_softmax

Why:      one kernel for softmax and top-k, and indices that the experts take without a cast.
Numerics: softmax in fp32, as in the source; the op gives what it is given, so it is given fp32. What makes the shares
          sum up to one, and their cast, stay the source's.
Contract: torch_npu.npu_moe_gating_top_k_softmax: k up to 1,024. Which of two equal probabilities comes first is not
          documented, as for torch.topk. Indices are int32, so who takes them is changed with the router: the experts
          must be ported, and the block around must do nothing else with them. (npu_moe_gating_top_k_softmax_v2
          divides by the sum as well, but its converter is reported to refuse the argument that asks for it.)
"""

import torch

from porter.npu import torch_npu
from porter.rule import Edit, Rule

rule = Rule(
    edits=(
        Edit(site="router.forward", unit="statements", answers=("router",), returned={"chosen": ("experts", "moe")}),
    ),
)


def before(self, logits, k):
    probabilities = torch.nn.functional.softmax(logits, dim=-1, dtype=torch.float32)
    best, chosen = torch.topk(probabilities, k, dim=-1)


def after(self, logits, k):
    best, chosen, _ = torch_npu.npu_moe_gating_top_k_softmax(logits.to(torch.float32), k=k)


def before__by_column(self, x, k):
    tokens = x.reshape(-1, x.shape[-1])
    if self.wg.weight.dtype == torch.float32:
        tokens = tokens.float()
    logits = self.wg(tokens)
    probabilities = torch.nn.functional.softmax(logits, dim=1, dtype=torch.float)
    best, chosen = torch.topk(probabilities, k, dim=-1)


def after__by_column(self, x, k):
    tokens = x.reshape(-1, x.shape[-1])
    if self.wg.weight.dtype == torch.float32:
        tokens = tokens.float()
    logits = self.wg(tokens)
    best, chosen, _ = torch_npu.npu_moe_gating_top_k_softmax(logits.to(torch.float32), k=k)


def before__best_first(self, logits, k, x):
    raw, chosen = torch.topk(logits, k, dim=-1)
    shares = torch.softmax(raw, dim=-1).to(x.dtype)


def after__best_first(self, logits, k, x):
    best, chosen, _ = torch_npu.npu_moe_gating_top_k_softmax(logits.to(torch.float32), k=k)
    shares = (best / best.sum(dim=-1, keepdim=True)).to(x.dtype)


def before__best_first_as_given(self, logits, k):
    raw, chosen = torch.topk(logits, k, dim=-1)
    shares = torch.softmax(raw, dim=-1)


def after__best_first_as_given(self, logits, k):
    best, chosen, _ = torch_npu.npu_moe_gating_top_k_softmax(logits.to(torch.float32), k=k)
    shares = (best / best.sum(dim=-1, keepdim=True)).to(logits.dtype)


def before__best_first_by_column(self, x, k):
    logits = torch.nn.functional.linear(x, self.weight, self.bias)
    raw, chosen = torch.topk(logits, k, dim=-1)
    shares = torch.nn.functional.softmax(raw, dim=1, dtype=raw.dtype)


def after__best_first_by_column(self, x, k):
    logits = torch.nn.functional.linear(x, self.weight, self.bias)
    best, chosen, _ = torch_npu.npu_moe_gating_top_k(logits.to(torch.float32), k)  # of two dimensions, or an error
    shares = (best / best.sum(dim=1, keepdim=True)).to(logits.dtype)


def before__best_first_of_two_kinds(self, x, error):
    logits = torch.nn.functional.linear(x, self.weight)
    shares, chosen = torch.topk(logits, self.top_k, dim=-1)
    if self.expert_selection_fn == "softmax":
        shares = torch.nn.functional.softmax(shares, dim=1, dtype=torch.float)
    elif self.expert_selection_fn == "sigmoid":
        shares = torch.nn.functional.sigmoid(shares)
        if self.norm_topk_prob:
            shares = shares / torch.sum(shares, dim=-1, keepdims=True)
    else:
        raise error
    shares = shares.to(x.dtype)


def after__best_first_of_two_kinds(self, x, error):
    logits = torch.nn.functional.linear(x, self.weight)
    best, chosen, _ = torch_npu.npu_moe_gating_top_k_softmax(logits.to(torch.float32), k=self.top_k)
    if self.expert_selection_fn == "softmax":
        shares = best / best.sum(dim=1, keepdim=True)
    elif self.expert_selection_fn == "sigmoid":  # as they are: sigmoids in fp32 do not tell large logits apart
        shares = torch.nn.functional.sigmoid(logits.gather(1, chosen.long()))
        if self.norm_topk_prob:
            shares = shares / torch.sum(shares, dim=-1, keepdims=True)
    else:
        raise error
    shares = shares.to(x.dtype)


def not_seen_from_outside(self, x):
    """The probabilities of all experts are a result: the op keeps them to itself."""
    probabilities = torch.nn.functional.softmax(self.proj(x), dim=-1, dtype=torch.float32)
    best, chosen = torch.topk(probabilities, k=self.config.top_k_experts, dim=-1)
    best /= best.sum(dim=-1, keepdim=True)
    return probabilities, best, chosen


def not_used_as_an_index(self, logits):
    """Indices of int32 gather nothing."""
    probabilities = torch.nn.functional.softmax(logits, dim=-1, dtype=torch.float32)
    best, chosen = torch.topk(probabilities, self.top_k, dim=-1)
    best = best * self.per_expert_scale.gather(0, chosen)
    return logits, best, chosen


def not_in_the_dtype_of_the_model(self, logits):
    """Probabilities rounded to 16 bits tie where those of the op do not: another choice."""
    probabilities = torch.nn.functional.softmax(logits, dim=-1)
    best, chosen = torch.topk(probabilities, self.top_k, dim=-1)
    return logits, best, chosen


def not_with_a_bias_on_the_choice(self, logits):
    """The op chooses by the probabilities themselves."""
    probabilities = torch.nn.functional.softmax(logits, dim=-1, dtype=torch.float32)
    _, chosen = torch.topk(probabilities + self.bias, self.top_k, dim=-1)
    best = probabilities.gather(-1, chosen)
    return logits, best, chosen


def not_of_two_kinds_by_sigmoids(self, x, error):
    """Sigmoids of what the model computes in tie where logits do not."""
    logits = torch.nn.functional.linear(x, self.weight)
    raw, chosen = torch.topk(torch.nn.functional.sigmoid(logits), self.top_k, dim=-1)
    if self.expert_selection_fn == "softmax":
        shares = torch.nn.functional.softmax(raw, dim=1, dtype=torch.float)
    elif self.expert_selection_fn == "sigmoid":
        shares = raw
    else:
        raise error
    shares = shares.to(x.dtype)
    return logits, shares, chosen


def not_of_the_sigmoids(self, logits, x):
    """The op computes a softmax."""
    best, chosen = torch.topk(logits, self.top_k, dim=-1)
    shares = torch.sigmoid(best).to(x.dtype)
    return logits, shares, chosen


def _logits(draw):
    return draw.normal(7, 16, scale=4.0)


def proof(draw):
    return dict(self=draw.module(), logits=_logits(draw), k=draw.choice((1, 2, 4)))


def proof__by_column(draw):
    self = draw.module(wg=torch.nn.Identity())
    self.wg.weight = draw.normal(1)
    return dict(self=self, x=_logits(draw), k=draw.choice((1, 2, 4)))


def proof__best_first(draw):
    """The source takes the softmax in fp32 there."""
    logits = _logits(draw)
    return dict(self=draw.module(), logits=logits.to(torch.float32), k=draw.choice((1, 2, 4)), x=logits)


def proof__best_first_by_column(draw):
    self = draw.module(weight=torch.eye(16, dtype=draw.dtype), bias=torch.zeros(16, dtype=draw.dtype))
    return dict(self=self, x=_logits(draw), k=draw.choice((1, 2, 4)))


def proof__best_first_of_two_kinds(draw):
    self = draw.module(weight=torch.eye(16, dtype=draw.dtype), top_k=draw.choice((1, 2, 4)))
    self.expert_selection_fn, self.norm_topk_prob = draw.choice(("softmax", "sigmoid")), draw.choice((True, False))
    return dict(self=self, x=_logits(draw), error=ValueError())

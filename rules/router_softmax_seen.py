"""Softmax over the experts and the best of them, where all probabilities are given out -> npu_moe_gating_top_k

Why:      one kernel for softmax and top-k, which writes the probabilities of all experts too.
Numerics: softmax in fp32, as in the source; the op gives what it is given, so it is given fp32, and does not divide the
          shares of a softmax. What makes them sum up to one, and their scale, stay the source's.
Contract: torch_npu.npu_moe_gating_top_k: logits of two dimensions, more than two experts, 2,048 at most; out_flag for
          the probabilities. Which of two equal ones comes first is not documented, as for torch.topk. What is chosen
          becomes int64 again, as the source has it: it may be an index.
"""

import torch

from porter.npu import torch_npu
from porter.rule import Edit, Rule

rule = Rule(edits=(Edit(site="router.forward", unit="statements", answers=("router",)),))


def before(self, logits, k, shares):
    probabilities = torch.nn.functional.softmax(logits, dim=-1, dtype=torch.float32)
    best, chosen = torch.topk(probabilities, k, dim=-1)
    ...
    return probabilities, shares, chosen


def after(self, logits, k, shares):
    best, chosen, probabilities = torch_npu.npu_moe_gating_top_k(logits.to(torch.float32), k, out_flag=True)
    chosen = chosen.to(torch.int64)
    ...
    return probabilities, shares, chosen


def not_in_the_dtype_of_the_model(self, logits, k):
    """Probabilities rounded to 16 bits tie where those of the op do not: another choice."""
    probabilities = torch.nn.functional.softmax(logits, dim=-1)
    best, chosen = torch.topk(probabilities, k, dim=-1)
    return probabilities, best, chosen


def not_with_a_bias_on_the_choice(self, logits, k):
    """What is chosen by is not what is given out."""
    probabilities = torch.nn.functional.softmax(logits, dim=-1, dtype=torch.float32)
    best, chosen = torch.topk(probabilities + self.bias, k, dim=-1)
    return probabilities, best, chosen


def not_of_the_sigmoids(self, logits, k):
    """The op divides the shares of sigmoids by their sum, and the source does not."""
    probabilities = torch.sigmoid(logits)
    best, chosen = torch.topk(probabilities, k, dim=-1)
    return probabilities, best, chosen


def proof(draw):
    return dict(self=draw.module(), logits=draw.normal(7, 16, scale=4.0), k=draw.choice((1, 2, 4)), shares=None)

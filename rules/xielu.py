"""Two projections with xIELU between -> the same, with its softplus written out

Why:      TorchAir has no converter for `softplus`, and of the source's graph nothing is lowered at all. Of the two
          softplus only parameters are the input: numbers, once a layer.
Numerics: the activation's own steps; log(1 + exp) in fp32, rounded once, as softplus is. Above 20, where PyTorch's
          softplus is the identity, the two are equal in fp32 already.
Contract: none: plain torch. The activation's module stays, with its parameters by their names.
"""

import torch
from torch import nn
from transformers.activations import ACT2CLS, ACT2FN

from porter.rule import Argument, Edit, Rule

rule = Rule(
    edits=(
        Edit("forward", site="mlp.forward", unit="function", answers=("gate",)),
        Edit("init", site="mlp.__init__", unit="statements"),
    ),
    attributes=("up", "down", "act"),
    supersedes=("gelu",),
    guards={"kind": ("xielu",)},
)


def before_forward(self, x: Argument):
    return self.down(self.act(self.up(x)))


def after_forward(self, x):
    x = self.up(x)
    act = self.act
    positive = torch.log(1 + torch.exp(act.alpha_p.float())).to(act.alpha_p.dtype)
    negative = act.beta + torch.log(1 + torch.exp(act.alpha_n.float())).to(act.alpha_n.dtype)
    x = torch.where(
        x > 0,
        positive * x * x + act.beta * x,
        (torch.expm1(torch.min(x, act.eps)) - x) * negative + act.beta * x,
    )
    return self.down(x)


def before_init(self, kind, dtype):
    self.act = ACT2FN[kind]
    if kind == "xielu":
        self.act = ACT2CLS["xielu"](dtype=dtype)


def after_init(self, kind, dtype):
    if kind != "xielu":
        raise ValueError(f"xIELU is written out; this configuration asks for {kind!r}")
    self.act = ACT2CLS["xielu"](dtype=dtype)


def not_forward_with_a_gate(self, x):
    """Another MLP."""
    return self.down(self.act(self.gate(x)) * self.up(x))


def _mlp(draw, init):
    self = draw.module()
    init(self, "xielu", draw.dtype)
    self.act.alpha_p = nn.Parameter(draw.normal(1), requires_grad=False)
    self.act.alpha_n = nn.Parameter(draw.normal(1), requires_grad=False)
    self.up = self.down = nn.Identity()
    return self


def proof_before(draw):
    return before_forward(_mlp(draw, before_init), draw.normal(2, 7, 64))


def proof_after(draw):
    return after_forward(_mlp(draw, after_init), draw.normal(2, 7, 64))

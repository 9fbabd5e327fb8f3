"""RMSNorm that multiplies by the weight before it casts back -> npu_rms_norm

Why:      six small kernels become one.
Numerics: exact: the kernel multiplies in fp32 and rounds once, as the source does. `npu_add_rms_norm` rounds twice on
          A2 and A3, so there is no form with the residual.
Contract: torch_npu.npu_rms_norm: x and gamma of one dtype, or gamma fp32; gamma covers the last dimension.
"""

import torch

from porter.npu import torch_npu
from porter.rule import Edit, Rule
from rules.shared.rms_norm import after_init, before_init, not_forward_weight_after_the_cast

rule = Rule(
    edits=(
        Edit("forward", site="*.forward", unit="function", answers=("norm",)),
        Edit("init", site="*.__init__", unit="statements"),
    ),
    attributes=("epsilon",),
    closes={"npu_add_rms_norm rounds twice: not exact for a norm that multiplies in fp32": ("sum", "last_sum")},
)


def before_forward(self, x):
    dtype = x.dtype
    x = x.to(torch.float32)
    variance = x.pow(2).mean(-1, keepdim=True)
    x = x * torch.rsqrt(variance + self.epsilon)
    return (self.weight * x).to(dtype)


def before_forward__wide_weight(self, x):
    dtype = x.dtype
    x = x.to(torch.float32)
    variance = x.pow(2).mean(-1, keepdim=True)
    x = x * torch.rsqrt(variance + self.epsilon)
    return (self.weight.to(torch.float32) * x).to(dtype)


def after_forward(self, x):
    return torch_npu.npu_rms_norm(x, self.weight, self.epsilon)[0]


def not_forward_with_bias(self, x):
    """The kernel adds nothing."""
    dtype = x.dtype
    x = x.to(torch.float32)
    variance = x.pow(2).mean(-1, keepdim=True)
    x = x * torch.rsqrt(variance + self.epsilon)
    return (self.weight * x + self.bias).to(dtype)


def _norm(draw, init):
    self = draw.module(epsilon=1e-6)
    init(self, 64)
    self.weight = draw.normal(*self.weight.shape)
    return self


def proof_before(draw):
    norm, x = _norm(draw, before_init), draw.normal(2, 7, 64)
    return before_forward(norm, x), before_forward__wide_weight(norm, x)


def proof_after(draw):
    norm, x = _norm(draw, after_init), draw.normal(2, 7, 64)
    return after_forward(norm, x), after_forward(norm, x)

"""LayerNorm written out in fp32, or called in fp32 -> one call of torch.nn.functional.layer_norm in the input's dtype

Why:      ten small kernels become one, or three (cast, norm, cast) one.
Numerics: fp32 inside and one rounding, as in the source: PyTorch's kernel for 16 bits computes so on the CPU. What
          LayerNormV4 does inside is CANN's to say: kernel not run.
Contract: plain torch, which TorchAir converts to LayerNormV4 (`npu_layer_norm_eval` has no converter). It norms as many
          dimensions as the weight has: of heads with a row of weights each, the last one is normed and the rows are
          multiplied behind it, in fp32, as in the source.
"""

import torch
from torch.nn import functional as F

from porter.rule import Edit, Rule

rule = Rule(
    edits=(Edit(site="norm.forward", unit="function", answers=("norm",)),),
    attributes=("epsilon",),
    closes={"TorchAir has no converter for npu_add_layer_norm": ("sum", "last_sum")},
)


def before(self, x):
    dtype = x.dtype
    x = x.to(torch.float32)
    mean = x.mean(-1, keepdim=True)
    variance = (x - mean).pow(2).mean(-1, keepdim=True)
    x = (x - mean) * torch.rsqrt(variance + self.epsilon)
    x = self.weight.to(torch.float32) * x
    return x.to(dtype)


def after(self, x):
    if self.weight.dim() == 1:
        return F.layer_norm(x, self.weight.shape, self.weight, None, self.epsilon)
    normed = F.layer_norm(
        x.to(torch.float32), x.shape[-1:], None, None, self.epsilon
    )
    return (self.weight.to(torch.float32) * normed).to(x.dtype)


def before__without_weight(self, x, shape, eps):
    return F.layer_norm(x.to(torch.float32), shape, None, None, eps=eps).to(x.dtype)


def after__without_weight(self, x, shape, eps):
    return F.layer_norm(x, shape, None, None, eps)


def not_that_leaves_the_mean(self, x):
    """Without its mean taken away it is an RMSNorm."""
    dtype = x.dtype
    x = x.to(torch.float32)
    variance = x.pow(2).mean(-1, keepdim=True)
    x = x * torch.rsqrt(variance + self.epsilon)
    x = self.weight.to(torch.float32) * x
    return x.to(dtype)


def not_zero_centered(self, x):
    """A weight stored as `weight - 1`: the call would drop the offset."""
    dtype = x.dtype
    x = x.to(torch.float32)
    mean = x.mean(-1, keepdim=True)
    variance = (x - mean).pow(2).mean(-1, keepdim=True)
    x = (x - mean) * torch.rsqrt(variance + self.epsilon)
    x = (1.0 + self.weight.to(torch.float32)) * x
    return x.to(dtype)


def not_over_the_sum_of_squares(self, x):
    """The variance of the normed states, not of the centred ones."""
    dtype = x.dtype
    x = x.to(torch.float32)
    mean = x.mean(-1, keepdim=True)
    variance = x.pow(2).mean(-1, keepdim=True)
    x = (x - mean) * torch.rsqrt(variance + self.epsilon)
    x = self.weight.to(torch.float32) * x
    return x.to(dtype)


def not_that_stays_wide(self, x, shape, eps):
    """What comes out is fp32, whatever went in."""
    return F.layer_norm(x.to(torch.float32), shape, None, None, eps=eps)


def proof(draw):
    heads = draw.choice((None, 4))
    shape = (64,) if heads is None else (heads, 64)
    self = draw.module(weight=draw.normal(*shape), epsilon=1e-6)
    return dict(self=self, x=draw.normal(2, 7, *shape))


def proof__without_weight(draw):
    return dict(self=draw.module(), x=draw.normal(2, 7, 64), shape=(64,), eps=1e-5)

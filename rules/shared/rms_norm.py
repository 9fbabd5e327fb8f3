"""The weight that norms are built with; the helper of those that divide by the root mean square in a method of its own;
and norms that look like an RMSNorm of the kernel's kind, and are not: no rule for it may take them.
"""

import torch
from torch import nn

from porter.rule import Argument


def before_init(self, width: Argument):
    self.weight = nn.Parameter(torch.ones(width))


def after_init(self, width):
    self.weight = nn.Parameter(torch.ones(width))


def before_helper(self, x: Argument):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon)


def after_helper(self, x):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon)


def not_forward_zero_centered(self, x):
    """A weight stored as `weight - 1`: the fused kernel would drop the offset."""
    dtype = x.dtype
    x = x.to(torch.float32)
    variance = x.pow(2).mean(-1, keepdim=True)
    x = x * torch.rsqrt(variance + self.variance_epsilon)
    return (1.0 + self.weight) * x.to(dtype)


def not_forward_weight_in_fp32(self, x):
    """The weight multiplied before the cast rounds once: another rule's spelling."""
    dtype = x.dtype
    x = x.to(torch.float32)
    variance = x.pow(2).mean(-1, keepdim=True)
    x = x * torch.rsqrt(variance + self.variance_epsilon)
    return (self.weight * x).to(dtype)


def not_forward_weight_after_the_cast(self, x):
    """Cast before the weight, over all channels: `norm_rms` takes it."""
    dtype = x.dtype
    x = x.to(torch.float32)
    variance = x.pow(2).mean(-1, keepdim=True)
    x = x * torch.rsqrt(variance + self.epsilon)
    return self.weight * x.to(dtype)


def not_forward_centered(self, x):
    """A mean that is subtracted makes a LayerNorm."""
    dtype = x.dtype
    x = x.to(torch.float32)
    x = x - x.mean(-1, keepdim=True)
    variance = x.pow(2).mean(-1, keepdim=True)
    x = x * torch.rsqrt(variance + self.variance_epsilon)
    return self.weight * x.to(dtype)


def not_forward_with_weight(self, x):
    """The weight would be dropped."""
    output = self._norm(x.float()).type_as(x)
    return output * self.weight


def not_helper_that_centers(self, x):
    """Without its mean it is a LayerNorm."""
    x = x - x.mean(-1, keepdim=True)
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon)


def not_helper_that_sums(self, x):
    """Divided by the length, not by the root mean square: no epsilon of the kernel's makes it that."""
    return x * torch.rsqrt(x.pow(2).sum(-1, keepdim=True) + self.epsilon)


def not_init_with_a_row_for_each_head(self, heads, width):
    """The kernel norms as many dimensions as gamma has."""
    self.weight = nn.Parameter(torch.ones(heads, width))

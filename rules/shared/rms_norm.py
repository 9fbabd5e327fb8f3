"""Norms that look like the RMSNorm that casts back before the weight, and are not: no rule for it may take them."""

import torch


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


def not_forward_centered(self, x):
    """A mean that is subtracted makes a LayerNorm."""
    dtype = x.dtype
    x = x.to(torch.float32)
    x = x - x.mean(-1, keepdim=True)
    variance = x.pow(2).mean(-1, keepdim=True)
    x = x * torch.rsqrt(variance + self.variance_epsilon)
    return self.weight * x.to(dtype)

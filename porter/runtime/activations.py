"""Activations by their name in a configuration, as modules that compute on an NPU what the library's compute elsewhere.

PyTorch's `gelu` is the form by tanh there, whatever it is asked for (`porter.npu.on_npu`): the error function is
`npu_gelu`'s.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers.activations import ACT2FN

try:
    import torch_npu
except ImportError:  # no NPU stack here: the same ops, computed on the CPU
    from porter.npu import torch_npu

_BY_ERROR_FUNCTION = ("gelu", "gelu_python")  # the library's second spells it out in six kernels


class Gelu(nn.Module):
    """gelu by the error function: float16, bfloat16 or float32, any shape. It has no weights."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return torch_npu.npu_gelu(input, approximate="none")


def activation_of(name: str) -> nn.Module:
    """What the library's `ACT2FN[name]` is. Raises KeyError where it has none.

    `gelu_new`, which it writes out in eight kernels, is its `gelu_pytorch_tanh`: the same formula, rounded once.
    """
    if name in _BY_ERROR_FUNCTION:
        return Gelu()
    if name == "gelu_10":  # clipped, for quantized models
        return nn.Sequential(Gelu(), nn.Hardtanh(-10.0, 10.0))
    found: nn.Module = ACT2FN["gelu_pytorch_tanh" if name == "gelu_new" else name]
    return found
